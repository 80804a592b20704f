"""A normal over the root of a count: probabilities sum to one, draws follow them, and it is wide or narrow at will."""

import math

import pyro.distributions as dist
import pytest
import torch

from ppl_vae.distributions import RootNormal
from ppl_vae.distributions.root_normal import NARROW, _log_cell

CASES = [(3.0, 0.5, math.inf), (0.0, 2.0, math.inf), (100.0, 0.5, math.inf), (1.5, 0.02, math.inf), (2.0, 0.3, 5.0)]


def law(loc, scale, upper=math.inf, dtype=torch.float64):
    return RootNormal(*(torch.tensor(v, dtype=dtype) for v in (loc, scale, upper)), bounded=upper < math.inf)


def counts(upper, dtype=torch.float64):
    return torch.arange(20_000 if upper == math.inf else upper + 1, dtype=dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-5)])
@pytest.mark.parametrize(("loc", "scale", "upper"), CASES)
def test_probabilities_sum_to_one(loc, scale, upper, dtype, tolerance):
    q = law(loc, scale, upper, dtype)
    assert float(q.log_prob(counts(upper, dtype)).exp().sum()) == pytest.approx(1, abs=tolerance)
    assert q.support.check(counts(upper, dtype)).all()
    assert not q.support.check(torch.tensor([-1.0, 0.5, upper + 1])[: 2 if upper == math.inf else 3]).any()


@pytest.mark.parametrize(("loc", "scale", "upper"), CASES)
def test_draws_have_its_mean_and_variance(loc, scale, upper):
    """20,000 draws; 5 standard errors, false-alarm rate below 1e-5."""
    torch.manual_seed(0)
    q, k, n = law(loc, scale, upper), counts(upper), 20_000
    p = q.log_prob(k).exp()
    mean = (p * k).sum()
    variance, fourth = (p * (k - mean) ** 2).sum(), (p * (k - mean) ** 4).sum()
    x = q.sample((n,))
    assert x.equal(x.round())
    assert abs(x.mean() - mean) <= 5 * (variance / n).sqrt() + 1e-6 * mean
    assert abs(((x - mean) ** 2).mean() - variance) <= 5 * ((fourth - variance**2) / n).sqrt() + 1e-5 * variance


@pytest.mark.parametrize(("loc", "scale", "upper"), CASES)
def test_gradients_are_those_of_finite_differences(loc, scale, upper):
    k = torch.tensor([0.0, 1, 2, 5], dtype=torch.float64)
    parameters = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (loc, scale)]
    top = torch.tensor(upper, dtype=torch.float64)
    gradients = torch.autograd.grad(RootNormal(*parameters, top).log_density(k).sum(), parameters)
    for i, eps in enumerate((1e-6, 1e-6 * scale)):
        moved = [law(*[v + s * eps * (j == i) for j, v in enumerate((loc, scale))], upper) for s in (1, -1)]
        slope = (moved[0].log_density(k).sum() - moved[1].log_density(k).sum()) / (2 * eps)
        assert float(gradients[i]) == pytest.approx(float(slope), rel=1e-4, abs=1e-4)


def test_the_two_formulas_for_a_cell_meet():
    for middle in (0.0, 0.5, 3.0):
        width = torch.tensor([NARROW * (1 - 1e-9), NARROW * (1 + 1e-9)], dtype=torch.float64) / max(1, middle)
        below, above = _log_cell(torch.tensor(middle, dtype=torch.float64), width)
        assert float(below) == pytest.approx(float(above), abs=2e-6)


FAMILIES = {
    "Poisson(0.3)": (dist.Poisson(0.3), 0.001),
    "Poisson(3)": (dist.Poisson(3.0), 0.006),
    "Poisson(50)": (dist.Poisson(50.0), 0.001),
    "Geometric(0.2)": (dist.Geometric(0.2), 0.005),
    "NegativeBinomial(3, 0.6)": (dist.NegativeBinomial(3.0, torch.tensor(0.6)), 0.002),
    "half as wide as Poisson": (dist.Binomial(40, 0.75), 0.012),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_close_to_every_usual_family_of_counts(name):
    """KL(q || p) of the best of a coarse grid, in nats; the best of all is below 0.004 but for the last, 0.011."""
    p, bound = FAMILIES[name]
    upper = 40 if "half" in name else 400
    k = torch.arange(upper + 1, dtype=torch.float64)
    log_p = p.log_prob(k).double()
    locs, scales = torch.meshgrid(
        torch.linspace(0, 8, 201).double(), torch.linspace(0.1, 1.5, 29).double(), indexing="ij"
    )
    q = RootNormal(locs, scales, torch.tensor(float(upper), dtype=torch.float64), bounded=True)
    log_q = q.expand([201, 29]).log_density(k.reshape(-1, 1, 1))
    kl = (log_q.exp() * (log_q - log_p.reshape(-1, 1, 1))).sum(0).min()
    assert -1e-6 < float(kl) < bound
