import json
from dataclasses import replace

import pytest
import torch

from ppl_vae.datasets import ColumnKind, Field, Spec
from ppl_vae.errors import DataError

FULL = Spec(
    shape=(3, 4, 4),
    support="integers",
    levels=256,
    fields=(Field("x", (3, 4, 4), "float64"), Field("y", (), "int64")),
    num_classes=2,
    class_names=("a", "b"),
    factor_names=("size",),
    factor_sizes=(5,),
    location=(0.0, 1.0, 2.0),
    scale=(1.0, 2.0, 4.0),
)


MIXED = Spec(
    (3,),
    "mixed",
    feature_names=("age", "town", "grade"),
    columns=(
        ColumnKind("positive", location=1.5, scale=0.25),
        ColumnKind("category", ("Bonn", "Kiel", "Hamm")),
        ColumnKind("ordinal", ("low", "high")),
    ),
)


@pytest.mark.parametrize("spec", [FULL, Spec((7,), "real", feature_names=tuple("abcdefg")), MIXED])
def test_goes_through_json(spec):
    assert Spec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_mean_is_neither_written_nor_compared():
    with_mean = replace(FULL, mean=torch.zeros(3, 4, 4))
    assert with_mean == FULL
    assert with_mean.to_dict() == FULL.to_dict()


def test_unset_keys_are_not_written():
    assert set(Spec((2,), "real").to_dict()) == {"shape", "support", "fields"}


def test_restore_undoes_standardization_per_channel():
    z = torch.randn(5, 2, 3, 4, 4)
    expected = torch.tensor([0.0, 1.0, 2.0]).reshape(3, 1, 1) + torch.tensor([1.0, 2.0, 4.0]).reshape(3, 1, 1) * z
    torch.testing.assert_close(FULL.restore(z), expected)
    assert Spec((2,), "real").restore(z) is z


def test_field_dtype_is_torchs():
    assert FULL.fields[0].torch_dtype is torch.float64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shape": (2,), "support": "grey"}, "support='grey', expected one of binary"),
        ({"shape": (2,), "support": "integers"}, "such as levels=256"),
        ({"shape": (2,), "support": "mixed"}, "kinds of None columns"),
        ({"shape": (2,), "support": "mixed", "columns": MIXED.columns}, "kinds of 3 columns for x of shape"),
        ({"shape": (3,), "support": "real", "columns": MIXED.columns}, "none with another"),
    ],
)
def test_refuses(values, message):
    with pytest.raises(DataError, match=message):
        Spec(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"shape": [2], "support": "real", "colour": 1}, "colour"), ({"shape": [2]}, "lacks \\['support'\\]")],
)
def test_from_dict_refuses(values, message):
    with pytest.raises(DataError, match=message):
        Spec.from_dict(values)


@pytest.mark.parametrize(
    ("kind", "names"), [("money", ()), ("category", ("one",)), ("ordinal", ()), ("binary", ("a",))]
)
def test_kinds_that_there_are_not(kind, names):
    with pytest.raises(DataError, match="kind"):
        ColumnKind(kind, names)
