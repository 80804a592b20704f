from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from ppl_vae.datasets import Field, Spec, csv, from_arrays, npz, parquet
from ppl_vae.errors import DataError

X = torch.randn(6, 2)
AGE = [30.0, 40.0, 50.0, 60.0, 70.0, 20.0]
TOWN = ["b", "a", "b", "a", "c", "c"]


class Patient(NamedTuple):
    x: Any
    age: Any


def test_a_mapping_names_the_tensors_of_a_batch():
    data = from_arrays({"counts": X, "age": AGE, "town": TOWN}, validation=2)
    assert [field.name for field in data.spec.fields] == ["counts", "age", "town"]
    assert [field.class_names for field in data.spec.fields] == [None, None, ("a", "b", "c")]
    x, age, town = data.train.batch()
    rows = data.train.indices
    assert torch.equal(x, X[rows])
    assert age.tolist() == [AGE[i] for i in rows]
    assert [("a", "b", "c")[code] for code in town] == [TOWN[i] for i in rows]


def test_a_named_tuple_gives_its_names():
    assert [field.name for field in from_arrays(Patient(X, AGE)).spec.fields] == ["x", "age"]
    assert [field.name for field in from_arrays((X, AGE)).spec.fields] == ["x", "x1"]


def test_splits_are_coded_alike_whatever_their_order():
    data = from_arrays({"x": X, "town": TOWN}, test={"town": ["d", "a"], "x": X[:2]})
    assert data.spec.fields[1] == Field("town", (), "int64", 4, ("a", "b", "c", "d"))
    assert data.test.batch()[1].tolist() == [3, 0]


@pytest.mark.parametrize(
    "values", [pd.Categorical(TOWN), pd.Series(TOWN), np.array(TOWN), np.array(TOWN, object), np.array(TOWN, "S")]
)
def test_text_of_any_kind_is_a_category(values):
    data = from_arrays({"x": X, "town": values})
    assert data.spec.fields[1].class_names == ("a", "b", "c")
    assert data.train.batch()[1].tolist() == [1, 0, 1, 0, 2, 2]


def test_integers_are_numbers_unless_they_are_named():
    batch = [3, 5, 3, 9, 9, 5]
    assert from_arrays({"x": X, "batch": batch}).spec.fields[1].classes is None
    data = from_arrays({"x": X, "batch": batch}, categories=["batch"])
    assert data.spec.fields[1] == Field("batch", (), "int64", 3, ("3", "5", "9"))
    assert data.train.batch()[1].tolist() == [0, 1, 0, 2, 2, 1]
    of_pandas = from_arrays({"x": X, "batch": pd.Categorical(batch)})
    assert of_pandas.spec.fields[1] == data.spec.fields[1]


def test_labels_come_last():
    data = from_arrays({"x": X, "age": AGE}, labels=TOWN, with_labels=True)
    assert [field.name for field in data.spec.fields] == ["x", "age", "y"]
    assert data.train.batch()[2].tolist() == [1, 0, 1, 0, 2, 2]


def test_the_spec_goes_through_json_and_earlier_ones_read_as_before():
    data = from_arrays({"x": X, "age": AGE, "town": TOWN}, standardize_fields=["age"])
    written = data.spec.to_dict()
    assert Spec.from_dict(written) == data.spec
    assert Spec.from_dict(written).fields[1].location == (45.0,)
    assert Spec.from_dict(written).fields[1].scale == pytest.approx((np.std(AGE),))
    assert from_arrays((X, AGE)).spec.to_dict()["fields"] == [
        {"name": "x", "shape": [2], "dtype": "float32"},
        {"name": "x1", "shape": [], "dtype": "float32"},
    ]
    with pytest.raises(DataError, match="klasses"):
        Spec.from_dict({**written, "fields": [{"name": "x", "shape": [2], "klasses": 3}]})


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        ({"x": X, "age": [*AGE[:5], np.inf]}, {}, r"1 value of age of train infinite"),
        ({"x": X, "age": AGE[:5]}, {}, r"6 data in x of train and 5 in age of train"),
        ({"x": X, "age": AGE}, {"test": {"x": X}}, r"the names x, age in train and the names x in test"),
        ({"x": X, "age": AGE}, {"test": X}, r"the names x, age in train and arrays without names in test"),
        ({"x": X, "town": [*TOWN[:5], None]}, {}, r"1 missing values of town \(the first is of datum 5\)"),
        ({"x": X, "age": [*AGE[:5], 0.5]}, {"categories": ["age"]}, r"0\.5 in age, which is named as a category"),
        ({"x": X, "age": AGE}, {"categories": ["aeg"]}, r"categories=\['aeg'\].*perhaps 'age'"),
        ({"x": X, "age": AGE}, {"categories": ["x"]}, r"expected names of arrays that follow x: age"),
        ({"x": X, "age": AGE}, {"standardize_fields": ["x"]}, r"expected names of arrays that follow x: age"),
        ({"x": X, "age": [3.0] * 6}, {"standardize_fields": ["age"]}, r"age .* does not vary"),
        ({"x": X, "town": TOWN}, {"standardize_fields": ["town"]}, r"town .* is a category"),
        ({"x": X, "label": AGE}, {"labels": TOWN}, r"named 'label' beside something else"),
        ({"x": X, "y": AGE}, {"labels": TOWN, "with_labels": True}, r"named 'y' beside something else"),
        ({"x": X, "datum": AGE}, {}, r"named 'datum' beside something else"),
        ({"x": X, "a/b": AGE}, {}, r"'a/b' as the name"),
        ({"x": TOWN, "age": AGE}, {}, r"x of train of dtype"),
        ({}, {}, r"expected at least one array: x"),
    ],
)
def test_what_cannot_be_meant_is_refused(train, options, message):
    with pytest.raises(DataError, match=message):
        from_arrays(train, **options)


@pytest.fixture
def frame():
    return pd.DataFrame({"a": X[:, 0], "age": AGE, "b": X[:, 1], "town": TOWN, "batch": [1, 2, 1, 2, 4, 4]})


OPTIONS: Any = {"fields": ["town", "age", "batch"], "categories": ["batch"], "validation": 0, "test": 0}


@pytest.mark.parametrize("options", [{}, {"mmap": True}], ids=["read", "in the file"])
def test_tables(frame, tmp_path, options):
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=2)
    data = parquet(tmp_path / "t.parquet", standardization="none", **OPTIONS, **options)
    assert data.spec.feature_names == ("a", "b")
    assert [field.classes for field in data.spec.fields] == [None, 3, None, 3]
    x, town, age, batch = data.train.batch()
    assert torch.equal(x, X)
    assert (town.tolist(), age.tolist(), batch.tolist()) == ([1, 0, 1, 0, 2, 2], AGE, [0, 1, 0, 1, 2, 2])
    assert csv(tmp_path / "t.csv", standardization="none", **OPTIONS).spec.fields[1:] == data.spec.fields[1:]


def test_a_column_is_a_field_or_a_part_of_x(frame, tmp_path):
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="'age' both in columns and as fields"):
        csv(tmp_path / "t.csv", columns=["a", "age"], fields=["age"])
    with pytest.raises(DataError, match=r"fields with 'agee'.*perhaps 'age'"):
        csv(tmp_path / "t.csv", fields=["agee"])
    frame["age"] = [np.nan, *AGE[1:]]
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=r"missing value in column 'age' .* row 1 \(line 2\)"):
        csv(tmp_path / "t.csv", fields=["age", "town"], exclude=["batch"])
    both = csv(tmp_path / "t.csv", fields=["town"], columns=["a", "b"], label="town", validation=0, test=0)
    assert torch.equal(both.train.labels, both.train.batch()[1])  # a label may be given to the programs, too


def test_archives(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, age=AGE, town=TOWN, x_test=X[:2], age_test=AGE[:2], town_test=["a", "d"])
    data = npz(tmp_path / "a.npz", fields=["age", "town"], validation=0)
    assert [field.name for field in data.spec.fields] == ["x", "age", "town"]
    assert data.test.batch()[2].tolist() == [0, 3]
    np.savez(tmp_path / "b.npz", x=X, age=AGE, x_test=X[:2])
    with pytest.raises(DataError, match=r"age='age_test', which .* does not hold"):
        npz(tmp_path / "b.npz", fields=["age"])
