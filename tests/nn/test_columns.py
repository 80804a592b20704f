"""What networks see of mixed columns, and the heads of a decoder."""

import pytest
import torch

from ppl_vae.datasets.spec import ColumnKind, Spec
from ppl_vae.likelihoods import Mixed, Normal
from ppl_vae.nn.columns import ColumnHeads
from ppl_vae.nn.features import Features

COLUMNS = (
    ColumnKind("category", ("a", "b", "c")),
    ColumnKind("positive", (), 1.0, 2.0),
    ColumnKind("ordinal", ("low", "middle", "high")),
    ColumnKind("binary"),
    ColumnKind("count", (), 0.5, 0.5),
    ColumnKind("real", (), 10.0, 5.0),
)
NAN = torch.nan


def spec(missing=False):
    return Spec((6,), "mixed", columns=COLUMNS, missing=missing)


def test_features_of_each_kind():
    x = torch.tensor([[1.0, torch.e, 1.0, 1.0, torch.e - 1, 20.0]])
    features = Features(spec())
    numbers, codes = [0.0, 1.0, 2.0], [0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    torch.testing.assert_close(features(x), torch.tensor([[*numbers, *codes]]))
    assert features.out_features == 10


def test_missing_values_are_zeros_and_numbers_are_said_to_be_missing():
    x = torch.full((1, 6), NAN)
    features = Features(spec(missing=True))
    assert features(x).tolist() == [[0.0] * 13]
    assert features(torch.ones(1, 6))[0, 3:6].tolist() == [1.0, 1.0, 1.0]


def test_no_nan_comes_into_a_gradient():
    x = torch.tensor([[0.0, NAN, 0.0, 0.0, NAN, NAN], [0.0, 2.0, 0.0, 0.0, 3.0, -4.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(Features(spec(missing=True))(x).sum(), x)
    assert gradient.isfinite().all()


def test_a_head_sees_its_column_alone():
    likelihood = Mixed(spec())
    torch.manual_seed(0)
    heads = ColumnHeads(spec(), likelihood, 2, components=3, hidden=[8])
    z, y = torch.randn(5, 2), torch.tensor([0, 1, 2, 0, 1])
    with torch.no_grad():
        before = heads(z, y)
        heads.net[-1].bias[2 * 4 : 3 * 4] += 10.0  # of the features of the third column
        changed = (heads(z, y) != before).any(0)
    assert before.shape == (5, likelihood.num_params)
    assert set(likelihood.columns[changed].tolist()) == {2}
    with torch.no_grad():
        heads.by_component[1] += 1.0
    assert (heads(z, y) != before)[y == 1].all()


def test_components_broadcast_as_enumerated_ones_do():
    heads = ColumnHeads(spec(), Mixed(spec()), 2, components=3, hidden=[8])
    z = torch.randn(7, 5, 2)
    every = heads(z, torch.arange(3)[:, None, None])
    assert every.shape == (3, 7, 5, heads.out_shape[0])
    torch.testing.assert_close(every[1], heads(z, torch.ones(7, 5, dtype=torch.int64)))


@pytest.mark.parametrize("scale", ["shared", "network"])
def test_other_likelihoods_have_heads_too(scale):
    plain = Spec((4,), "real", mean=torch.arange(4.0))
    likelihood = Normal(plain, scale=scale)
    heads = ColumnHeads(plain, likelihood, 2, components=2, hidden=[8])
    torch.nn.init.zeros_(heads.weight)
    px = likelihood(heads(torch.randn(3, 2), torch.zeros(3, dtype=torch.int64)))
    torch.testing.assert_close(px.mean, torch.arange(4.0).expand(3, 4))
