import pytest
import torch

from ppl_vae.datasets import Field, Spec
from ppl_vae.errors import ArgumentError, DataError
from ppl_vae.nn.features import Covariates

X, AGE, TOWN = Field("x", (4,)), Field("age", (), location=(40.0,), scale=(10.0,)), Field("town", (), "int64", 3)


def test_labels():
    fields = (Field("x", (4,)), Field("y", (), "int64"))
    codes = Covariates(Spec((4,), "binary", fields=fields, num_classes=3))
    assert torch.equal(codes(torch.tensor([2, 0])), torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    fields = (Field("x", (4,)), Field("y", (2, 3)))
    assert Covariates(Spec((4,), "binary", fields=fields))(torch.zeros(5, 2, 3)).shape == (5, 6)


def test_every_field_beside_x_is_a_part():
    covariates = Covariates(Spec((4,), "real", fields=(X, AGE, TOWN, Field("pair", (2,)))))
    found = covariates(torch.tensor([30.0, 60.0]), torch.tensor([2, 0]), torch.tensor([[5.0, 6.0], [7.0, 8.0]]))
    assert found.tolist() == [[-1.0, 0.0, 0.0, 1.0, 5.0, 6.0], [2.0, 1.0, 0.0, 0.0, 7.0, 8.0]]
    assert covariates.out_features == 6
    assert not covariates.state_dict()  # the spec says it


def test_integers_without_classes_are_numbers():
    covariates = Covariates(Spec((4,), "real", fields=(X, Field("year", (), "int64")), num_classes=3))
    assert covariates(torch.tensor([2000, 1990])).tolist() == [[2000.0], [1990.0]]


def test_what_is_not_there_is_told():
    with pytest.raises(DataError, match="x alone"):
        Covariates(Spec((4,), "binary"))
    with pytest.raises(ArgumentError, match="Got 1 tensors beside x, expected 2"):
        Covariates(Spec((4,), "real", fields=(X, AGE, TOWN)))(torch.zeros(3))
