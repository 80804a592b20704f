"""Columns of several families as one distribution: densities, draws, averages, supports."""

import pyro.distributions as dist
import pytest
import torch

from ppl_vae.core.observed import inside
from ppl_vae.distributions import Columns, Levels
from ppl_vae.errors import ArgumentError

LOGITS = torch.tensor([[0.0, 1.0, -torch.inf], [0.5, 0.0, 2.0]])


def columns(batch=()):
    levels = Levels(LOGITS.expand(*batch, 2, 3), torch.tensor([2, 3]))
    parts = {"real": dist.Normal(torch.tensor([1.0, -2.0]), 0.5), "category": levels}
    return Columns(parts, {"real": torch.tensor([3, 0]), "category": torch.tensor([1, 2])})


def test_elements_have_the_densities_of_their_families():
    x = torch.tensor([-1.5, 1.0, 2.0, 1.0])
    expected = [
        dist.Normal(-2.0, 0.5).log_prob(x[0]),
        LOGITS[0].log_softmax(-1)[1],
        LOGITS[1].log_softmax(-1)[2],
        dist.Normal(1.0, 0.5).log_prob(x[3]),
    ]
    torch.testing.assert_close(columns().log_prob(x), torch.stack(expected))
    torch.testing.assert_close(columns((5,)).log_prob(x), torch.stack(expected).expand(5, 4))


def test_expanded_it_is_the_same():
    px = columns().expand([7, 3, 4])
    x = px.sample()
    assert x.shape == (7, 3, 4)
    assert px.batch_shape == (7, 3, 4)
    torch.testing.assert_close(px.log_prob(x), columns().log_prob(x))
    assert px.to_event(1).expand([2, 7, 3]).log_prob(x).shape == (2, 7, 3)


def test_draws_follow_the_probabilities():
    """20,000 draws, 4 frequencies and 2 means within 4 standard errors: false alarm below 4e-4."""
    torch.manual_seed(0)
    x = columns().sample((20_000,))
    share = (x[:, 2:3] == torch.arange(3)).float().mean(0)
    p = LOGITS[1].softmax(-1)
    assert ((share - p).abs() < 4 * (p * (1 - p) / 20_000) ** 0.5).all()
    assert abs((x[:, 1] == 1).float().mean() - torch.sigmoid(torch.tensor(1.0))) < 4 * (0.2 / 20_000) ** 0.5
    assert ((x[:, [0, 3]].mean(0) - torch.tensor([-2.0, 1.0])).abs() < 4 * 0.5 / 20_000**0.5).all()


def test_averages_are_of_probabilities():
    assert columns().mean.tolist() == [-2.0, 1.0, 2.0, 1.0]
    one, other = columns().expectation, columns().expectation.clone()
    other[2:] = torch.tensor([0.9, 0.1, 0.0, 0.0, 1.0, 0.0])
    assert columns().point((one + 3 * other) / 4).tolist() == [-2.0, 0.0, 1.0, 1.0]


def test_support_of_each_column():
    px = columns()
    x = torch.tensor([-1.5, 2.0, 2.0, 1.0])
    assert px.support.check(x).tolist() == [True, False, True, True]  # the second has two levels
    assert px.support.check(torch.tensor([0.0, 0.5, -1.0, 0.0])).tolist() == [True, False, False, True]
    assert bool(px.support.check(inside(px.to_event(1).mask(False), x).expand(4)).all())
    with pytest.raises(ValueError, match="support"):
        Columns(px.named_parts, px.named_places, validate_args=True).log_prob(x)


@pytest.mark.parametrize("places", [{"real": torch.tensor([0])}, {"other": torch.tensor([0, 1])}])
def test_parts_without_places(places):
    with pytest.raises(ArgumentError, match="expected as many of each"):
        Columns({"real": dist.Normal(torch.zeros(2), 1.0)}, places)
