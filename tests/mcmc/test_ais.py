"""AIS against exact evidence, forwards and backwards."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.core.pair import VAE
from ppl_vae.errors import CheckError
from ppl_vae.mcmc.ais import ais, bracket
from tests import oracles


@pytest.fixture
def oracle():
    return oracles.linear_gaussian(num_data=6)


@pytest.mark.parametrize("start", ["guide", "prior"])
def test_exact_evidence_from_a_bad_guide(oracle, start):
    """A guide three times too narrow, where plain importance sampling fails: within 4 standard errors of the sum."""
    table = ais(VAE(*oracle.altered(0.3)), oracle.x, chains=32, steps=60, start=start)
    exact = oracle.log_evidence().numpy()
    error = (table["log_evidence"] - exact).sum()
    assert abs(error) < 4 * (table["log_evidence_se"] ** 2).sum() ** 0.5 + 0.02
    assert table["log_evidence_se"].max() < 0.5
    assert table["acceptance"].between(0.4, 1.0).all()


def test_exact_guide_needs_no_annealing(oracle):
    table = ais(VAE(*oracle.pair()), oracle.x, chains=4, steps=3)
    torch.testing.assert_close(torch.tensor(table["log_evidence"].to_numpy()), oracle.log_evidence(), atol=1e-7, rtol=0)
    assert table["log_evidence_se"].max() < 1e-6


def test_bracket_holds_the_exact_evidence(oracle):
    """Means over 30 simulated data: lower ≤ exact ≤ upper within 4 standard errors, and close together."""
    vae = VAE(*oracle.altered(0.5))
    found = bracket(vae, 30, chains=16, steps=60, like=oracle.x)
    assert found["gap"].mean() == pytest.approx(0.0, abs=0.1)
    lower_se = (found["lower_se"] ** 2).sum() ** 0.5 / 30
    upper_se = (found["upper_se"] ** 2).sum() ** 0.5 / 30
    assert found["gap"].mean() > -4 * math.hypot(lower_se, upper_se)


@pytest.mark.slow
def test_bracket_is_wide_where_annealing_is_too_fast(oracle):
    fast = bracket(VAE(*oracle.altered(0.2)), 20, chains=4, steps=2, like=oracle.x, leapfrog=1)
    slow = bracket(VAE(*oracle.altered(0.2)), 20, chains=4, steps=60, like=oracle.x)
    assert fast["gap"].mean() > 0.5
    assert slow["gap"].mean() < 0.3 * fast["gap"].mean()


def test_constrained_latents():
    """λ ~ Gamma(2, 1), x ~ Poisson(λ): p(x) = (x + 1) / 2^(x + 2)."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            rate = pyro.sample("rate", dist.Gamma(torch.tensor(2.0), 1.0))
            pyro.sample("x", dist.Poisson(rate), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("rate", dist.LogNormal(torch.zeros(x.shape[0]), 0.5))

    x = torch.tensor([0.0, 1.0, 4.0])
    table = ais(VAE(model, guide), x, chains=64, steps=60)
    exact = torch.log(x + 1) - (x + 2) * math.log(2)
    assert abs(table["log_evidence"].to_numpy() - exact.numpy()).max() < 0.06


def test_seeded_and_traceless(oracle):
    vae = VAE(*oracle.altered(0.3))
    before = torch.get_rng_state()
    first = ais(vae, oracle.x, chains=2, steps=4, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert first.equals(ais(vae, oracle.x, chains=2, steps=4, seed=1))
    assert all(p.grad is None for p in vae.parameters())


def test_deterministic_codes_are_refused():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.ImproperUniform(dist.constraints.real, (), ()))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Delta(x))

    with pytest.raises(CheckError, match="no evidence to anneal to: the code 'z' is deterministic"):
        ais(VAE(model, guide), torch.zeros(3), chains=2, steps=2)


def test_discrete_latents_are_refused():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.5)))
            pyro.sample("x", dist.Normal(c, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("c", dist.Bernoulli(torch.full(x.shape, 0.5)))

    with pytest.raises(CheckError, match="'c' is global, discrete"):
        ais(VAE(model, guide), torch.zeros(3), chains=2, steps=2)
