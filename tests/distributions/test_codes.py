"""Codes: probabilities sum to one, draws are distributed as they say; the rounded one is exact, its gradient σ's."""

import itertools

import pyro.distributions as dist
import pytest
import torch

from ppl_vae.distributions import Codes, Rounded
from ppl_vae.errors import ArgumentError
from ppl_vae.nn import AutoregressiveCodes, CategoricalCodes, UniformCodes

LEVELS = (2, 4, 3)
ALL = torch.tensor(list(itertools.product(*map(range, LEVELS))), dtype=torch.float32)


def prior(kind):
    torch.manual_seed(1)
    module = kind(LEVELS, hidden=[16]) if kind is AutoregressiveCodes else kind(LEVELS)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))  # far from uniform
    return module


@pytest.mark.parametrize("kind", [UniformCodes, CategoricalCodes, AutoregressiveCodes])
def test_probabilities_sum_to_one_and_are_zero_elsewhere(kind):
    p = prior(kind)()
    assert float(p.log_prob(ALL).exp().sum().detach()) == pytest.approx(1, rel=1e-5)
    off = torch.tensor([[2.0, 0, 0], [0, 4, 0], [0, 0, 3], [-1, 0, 0], [0.5, 0, 0], [0, 9, 0]])
    assert (p.log_prob(off) == -torch.inf).all()
    assert p.support.check(ALL).all()
    assert not p.support.check(off).any()


def test_uniform_and_categorical_are_those_of_torch():
    torch.testing.assert_close(prior(UniformCodes)().log_prob(ALL), torch.full((24,), 1 / 24).log())
    module = prior(CategoricalCodes)
    expected = sum(
        dist.Categorical(logits=module.logits[d, :n]).log_prob(ALL[:, d]) for d, n in enumerate(LEVELS)
    )  # padding has no probability
    torch.testing.assert_close(module().log_prob(ALL), expected)


@pytest.mark.parametrize("kind", [UniformCodes, CategoricalCodes, AutoregressiveCodes])
def test_draws_have_these_probabilities(kind):
    # 20,000 draws over 24 codes: Pearson's statistic has 23 degrees of freedom and is above 49.7 in 0.1 % of seeds.
    p, n = prior(kind)(), 20_000
    torch.manual_seed(0)
    z = p.sample((n,))
    index = (z * torch.tensor([12.0, 3.0, 1.0])).sum(-1).long()
    counts, expected = torch.bincount(index, minlength=24), n * p.log_prob(ALL).exp().detach()
    assert float(((counts - expected).square() / expected).sum()) < 49.7


def test_an_element_sees_those_before_it_alone():
    module = prior(AutoregressiveCodes)
    z = torch.tensor([1.0, 2.0, 0.0])
    changed = torch.tensor([1.0, 3.0, 2.0])
    before, after = module.logits(z), module.logits(changed)
    torch.testing.assert_close(before[:2], after[:2])
    assert not torch.allclose(before[2], after[2])


def test_shapes_with_plates_and_particles():
    for p in (prior(AutoregressiveCodes)(), prior(UniformCodes)()):
        wide = p.expand([5, 7])
        assert wide.sample((2,)).shape == (2, 5, 7, 3)
        assert wide.log_prob(torch.zeros(3)).shape == (5, 7)
        assert p.log_prob(torch.zeros(4, 1, 3)).shape == (4, 1)


@pytest.mark.parametrize("levels", [2, 3, 5, 8])
def test_each_value_has_an_equal_share_of_the_sigmoid(levels):
    share = (torch.arange(600) + 0.5) / 600
    z = Rounded(share.logit()[:, None], [levels]).sample()[:, 0]
    assert torch.bincount(z.long()).tolist() == [600 // levels] * levels
    ends = Rounded(torch.tensor([[-200.0], [200.0]]), [levels]).sample()
    assert ends.flatten().tolist() == [0, levels - 1]


def test_a_draw_is_exactly_a_code_and_carries_the_gradient_of_the_sigmoid():
    raw = torch.linspace(-4, 4, 33)[:, None].repeat(1, 3).requires_grad_()
    q = Rounded(raw, LEVELS)
    z = q.rsample((2,))
    assert torch.equal(z, z.round())
    assert (q.log_prob(z) == 0).all()
    assert (q.log_prob(z + 1) == -torch.inf).all()
    (gradient,) = torch.autograd.grad(z.sum(), raw)
    s = raw.sigmoid()
    torch.testing.assert_close(gradient, 2 * torch.tensor(LEVELS) * s * (1 - s))  # of two draws
    assert q.expand([4, 33]).batch_shape == (4, 33)
    assert (q.variance == 0).all()


def test_what_is_no_code_is_refused():
    for levels in ([], [1, 3], "88", [2.5], [2**20]):
        with pytest.raises(ArgumentError, match="levels="):
            Codes(levels, torch.zeros(1, 1))
    with pytest.raises(ArgumentError, match=r"raw of shape \(4, 2\)"):
        Rounded(torch.zeros(4, 2), LEVELS)
