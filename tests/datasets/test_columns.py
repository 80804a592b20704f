"""Tables whose columns differ: kinds found and said, codes and back, refusals by name."""

import numpy as np
import pandas as pd
import pytest
import torch

from ppl_vae.datasets import Spec, csv, from_arrays, parquet, to_frame
from ppl_vae.datasets.columns import as_kinds, kind_of
from ppl_vae.errors import DataError

N = 40
GRADES = ["low", "middle", "high"]


def frame() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": draw.normal(40, 10, N).round(1),
            "town": draw.choice(["Kiel", "Bonn", "Hamm"], N),
            "well": draw.random(N) < 0.5,
            "smokes": draw.choice(["yes", "no"], N),
            "grade": pd.Categorical(draw.choice(GRADES, N), GRADES, ordered=True),
            "visits": [0, *draw.poisson(3, N - 1)],
            "income": np.exp(draw.normal(8, 1, N)),
            "group": draw.integers(1, 4, N),
        }
    )


KINDS = {"visits": "count", "income": "positive", "group": "category"}
EXPECTED = ["real", "category", "binary", "binary", "ordinal", "count", "positive", "category"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b", "a", None, "c", "c"], "category"),
        (["a", "b", "a", None, "b"], "binary"),
        (pd.Categorical(["b", "a"], ["b", "a"], ordered=True), "ordinal"),
        (pd.Categorical(["b", "a"], ["b", "a", "c"]), "category"),
        ([True, False, None], "binary"),
        ([True, False, True], "binary"),
        ([0, 1, 1], "binary"),
        ([0, 1, 7], "real"),
        ([0.5, None], "real"),
        (pd.array([1, None, 5], "Int64"), "real"),
        (["1,5", "2,5", "1,5"], None),
        (["1", "?", "1", "?", "2"], None),
        (["Ann", "Bob", "Cid"], None),
        (pd.to_datetime(["2020-01-01", "2020-01-01"]), None),
        ([["list"], ["list"]], None),
    ],
)
def test_kinds_are_found(values, kind):
    assert kind_of(pd.Series(values)) == kind


def test_a_table_comes_and_goes_in_its_own_words():
    table = frame().astype({"visits": float})
    holes = np.random.default_rng(1).random(table.shape) < 0.2
    table = table.astype({"well": object}).mask(pd.DataFrame(holes, columns=table.columns))
    data = from_arrays(table, validation=10, standardization="zscore", kinds=KINDS)
    spec = data.spec
    assert spec.support == "mixed"
    assert spec.missing
    assert [column.kind for column in spec.columns] == EXPECTED
    assert spec.columns[1].names == ("Bonn", "Hamm", "Kiel")
    assert spec.columns[4].names == tuple(GRADES)
    assert spec.columns[7].names == ("1", "2", "3")
    assert spec.location[1:] == (0.0,) * 7
    assert spec.scale[1:] == (1.0,) * 7
    back = to_frame(spec, data.train.batch()[0])
    rows = table.iloc[data.train.indices.numpy()].reset_index(drop=True)
    for name in ("age", "visits", "income"):
        np.testing.assert_allclose(back[name], rows[name], rtol=1e-5)
    for name in ("town", "smokes", "grade"):
        assert back[name].astype(object).where(back[name].notna(), None).tolist() == [
            None if pd.isna(value) else value for value in rows[name]
        ]
    assert back["well"].dropna().tolist() == rows["well"].dropna().map(str).tolist()


def test_networks_are_told_mean_and_deviation_of_the_training_data():
    table = frame()
    data = from_arrays(table, validation=10, kinds=KINDS)
    rows = table.iloc[data.train.indices.numpy()]
    age, visits, income = (data.spec.columns[i] for i in (0, 5, 6))
    for column, values in (
        (age, rows["age"]),
        (visits, np.log1p(rows["visits"])),
        (income, np.log(rows["income"])),
    ):
        np.testing.assert_allclose([column.location, column.scale], [values.mean(), values.std(ddof=0)], rtol=1e-5)


def test_plain_numbers_are_what_they_were():
    numbers = frame()[["age", "income"]]
    assert from_arrays(numbers).spec.columns is None
    assert from_arrays(numbers).spec.support == "real"


def test_columns_of_pythons_own_numbers_are_numbers():
    own = pd.Series([1.5, None, 2.5, 3.0] * 5, dtype=object)
    beside_words = from_arrays(pd.DataFrame({"a": own, "w": ["x", "y"] * 10}))
    assert [column.kind for column in beside_words.spec.columns] == ["real", "binary"]
    np.testing.assert_array_equal(beside_words.train.batch()[0][:4, 0], [1.5, np.nan, 2.5, 3.0])
    assert from_arrays(pd.DataFrame({"a": own, "b": np.linspace(-1, 1, 20)})).spec.columns is None


@pytest.mark.parametrize("words", [{}, {"w": ["x", "y"] * 10}])
def test_booleans_beside_numbers_are_binary_whatever_else_there_is(words):
    table = pd.DataFrame({"b": [True, False] * 10, "a": np.linspace(-1, 1, 20), **words})
    assert [column.kind for column in from_arrays(table).spec.columns][:2] == ["binary", "real"]
    assert from_arrays(table[["b"]]).spec.support == "binary"


def test_arrays_have_kinds_by_their_names():
    x = np.abs(np.random.default_rng(0).normal(size=(20, 2)))
    by_name = from_arrays(x, feature_names=["a", "b"], kinds={"b": "positive"})
    assert [column.kind for column in by_name.spec.columns] == ["real", "positive"]
    assert [column.kind for column in from_arrays(x, kinds={1: "positive"}).spec.columns] == ["real", "positive"]
    pair = from_arrays((x, np.arange(20)), kinds={0: "positive"})
    assert [field.dtype for field in pair.spec.fields] == ["float32", "int64"]


def test_splits_share_their_codes():
    town = pd.DataFrame({"town": ["Kiel", "Bonn"] * 4})
    data = from_arrays(town, validation=pd.DataFrame({"town": ["Hamm", "Bonn"] * 2}))
    assert data.spec.columns[0].names == ("Bonn", "Hamm", "Kiel")
    assert data.validation.batch()[0].flatten().tolist() == [1, 0, 1, 0]


def test_further_data_are_read_by_the_codes_of_the_first():
    data = from_arrays(frame(), kinds=KINDS)
    few = frame()[lambda table: table["town"] == "Kiel"]
    again = from_arrays(few, kinds=as_kinds(data.spec))
    assert [column.names for column in again.spec.columns] == [column.names for column in data.spec.columns]
    assert (again.train.batch()[0][:, 1] == 2).all()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files(tmp_path, kind):
    table = frame()
    table.loc[:5, "town"] = None
    file = tmp_path / f"people.{kind}"
    table.to_csv(file, index=False) if kind == "csv" else table.to_parquet(file)
    grades = {} if kind == "parquet" else {"grade": {"ordinal": GRADES}}
    data = {"csv": csv, "parquet": parquet}[kind](file, kinds={**KINDS, **grades}, validation=0, test=0)
    assert [column.kind for column in data.spec.columns] == EXPECTED
    assert to_frame(data.spec, data.train.batch()[0])["town"].isna().sum() == 6
    assert Spec.from_dict(data.spec.to_dict()) == data.spec
    assert data.spec == from_arrays(table, kinds=KINDS, standardization="zscore").spec


@pytest.mark.parametrize(
    ("kinds", "options", "message"),
    [
        ({"town": "ordinal"}, {}, "'town' of kind 'ordinal' without an order"),
        ({"town": "binary"}, {}, "3 different values of the column 'town' .Bonn, Hamm, Kiel., expected two"),
        ({"town": "positive"}, {}, "column 'town' that cannot be positive, the first"),
        ({"age": "count"}, {}, "column 'age' that cannot be count"),
        ({"visits": "positive"}, {}, "cannot be positive, the first '0' in row"),
        ({"visits": "money"}, {}, "'money' as the kind of the column 'visits', expected one of real, positive"),
        ({"visitz": "count"}, {}, "'visitz', which is no column of x, .*perhaps 'visits'"),
        ({"town": {"category": ["Bonn", "Kiel"]}}, {}, "'town' that cannot be category, the first 'Hamm'"),
        ({"town": {"category": "Bonn"}}, {}, "expected a list"),
        ({"town": {"category": ["Bonn", "Bonn"]}}, {}, "expected each once"),
        ({"town": {"category": [], "ordinal": []}}, {}, "expected one, with its names"),
        (KINDS, {"support": "real"}, "support='real'"),
        (KINDS, {"binarization": "static"}, "binarization='static'|binarization"),
    ],
)
def test_refusals(kinds, options, message):
    with pytest.raises(DataError, match=message):
        from_arrays(frame(), kinds=kinds, **options)


def test_other_refusals(tmp_path):
    with pytest.raises(DataError, match="'name' with 'p0', expected numbers, or text in which values recur"):
        from_arrays(frame().assign(name=[f"p{i}" for i in range(N)]))
    with pytest.raises(DataError, match="no value in the column 'blank'"):
        from_arrays(frame().assign(blank=None))
    with pytest.raises(DataError, match="1 different values of the column 'one'"):
        from_arrays(frame().assign(one="same"))
    with pytest.raises(DataError, match="support='mixed' for plain numbers"):
        from_arrays(torch.rand(9, 2), support="mixed")
    with pytest.raises(DataError, match="expected a table in memory"):
        from_arrays(torch.rand(9, 2, 2), kinds={0: "positive"})
    frame().to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="mmap=false"):
        parquet(tmp_path / "t.parquet", kinds=KINDS, mmap=True)
    with pytest.raises(DataError, match="shape=null"):
        parquet(tmp_path / "t.parquet", kinds=KINDS, shape=[2, 4])
