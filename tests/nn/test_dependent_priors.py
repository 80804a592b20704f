"""Priors: densities integrate to one by quadrature, and draws agree with them."""

from functools import partial

import pytest
import torch

from ppl_vae.errors import ArgumentError, PplVaeError
from ppl_vae.nn import AutoregressivePrior, ConditionalPrior, FlowPrior, FullMixturePrior, MixturePrior, StandardNormal

DRAWS = 40_000
ERRORS = 4.5
"""Standard errors: of two figures each a false alarm in 70,000 for a seed, were it not fixed."""

PRIORS = {
    "standard": StandardNormal,
    "mixture": partial(MixturePrior, components=3),
    "full mixture": partial(FullMixturePrior, components=3),
    "flow": partial(FlowPrior, layers=3, hidden=8),
    "autoregressive": partial(AutoregressivePrior, components=3, hidden=[16]),
    "autoregressive, a normal each": partial(AutoregressivePrior, components=1, hidden=[16]),
    "conditional": lambda dim: partial(ConditionalPrior(dim, given=4), torch.tensor([1.0, -1.0, 0.5, 2.0])),
}


def moved(make, dim):
    """A prior whose parameters are not those that it begins with."""
    torch.manual_seed(0)
    prior = make(dim)
    module = prior.func if isinstance(prior, partial) else prior
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return prior


def grid(dim, points=401, end=10.0):
    axis = torch.linspace(-end, end, points, dtype=torch.float64)
    axes = torch.meshgrid(*[axis] * dim, indexing="ij")
    return torch.stack([a.flatten() for a in axes], -1).float(), float(axis[1] - axis[0]) ** dim


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("make", PRIORS.values(), ids=PRIORS)
@torch.no_grad()
def test_the_density_integrates_to_one_and_draws_agree_with_it(make, dim):
    prior = moved(make, dim)()
    z, volume = grid(dim)
    log_prob = prior.log_prob(z).double()
    density = log_prob.exp() * volume
    assert float(density.sum()) == pytest.approx(1, abs=2e-4)
    draws = prior.sample((DRAWS,))
    assert draws.shape == (DRAWS, dim)
    oracle = {
        "entropy": ((density * log_prob).sum(), prior.log_prob(draws).double()),
        "a moment": ((density * z[:, 0].sin() * z[:, -1]).sum(), (draws[:, 0].sin() * draws[:, -1]).double()),
    }
    for name, (exact, seen) in oracle.items():
        error = seen.std() / DRAWS**0.5
        assert abs(float(seen.mean() - exact)) < ERRORS * float(error) + 2e-3, name


@torch.no_grad()
def test_an_element_depends_on_those_before_it_alone():
    prior = moved(partial(AutoregressivePrior, hidden=[16]), 4)
    z = torch.randn(4)
    z.requires_grad_()
    with torch.enable_grad():
        parts = prior.elements(z, prior.nothing).base_dist.log_prob(torch.zeros(4))
        jacobian = torch.stack([torch.autograd.grad(p, z, retain_graph=True)[0] for p in parts])
    assert torch.equal(jacobian.triu(), torch.zeros(4, 4))
    assert (jacobian.tril(-1) != 0).sum() == 6


def test_a_draw_expands_and_carries_the_dtype():
    prior = AutoregressivePrior(3).double()().expand([5])
    z = prior.sample((2,))
    assert (z.shape, z.dtype, prior.log_prob(z).shape) == ((2, 5, 3), torch.float64, (2, 5))


@pytest.mark.parametrize("keys", [{"dim": 0}, {"dim": 2, "components": 0}, {"dim": 2, "hidden": [0]}])
def test_sizes_are_refused(keys):
    with pytest.raises((PplVaeError, ArgumentError), match="at least 1"):
        AutoregressivePrior(**keys)
