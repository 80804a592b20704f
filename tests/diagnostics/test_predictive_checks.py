"""Predictive checks: uniform for the right model, and the wrong one is caught by the right statistic."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.core import tiles
from ppl_vae.core.pair import VAE
from ppl_vae.diagnostics.predictive_checks import predictive_checks
from ppl_vae.errors import DataError
from tests import oracles


@pytest.fixture(scope="module")
def oracle():
    return oracles.linear_gaussian(num_data=300)


def test_no_false_alarm():
    """30 data sets of the model: PIT p-values below 0.05 at most 8 of 60 (3 expected; false-alarm rate 0.01)."""
    low = 0
    for seed in range(30):
        oracle = oracles.linear_gaussian(num_data=100, seed=seed)
        found = predictive_checks(
            VAE(*oracle.pair()), oracle.x, {"first": lambda x: x[:, 0], "sum": lambda x: x.sum(1)}
        )
        low += int((found.table["pit_p"] < 0.05).sum())
    assert low <= 8


def test_a_shift_is_caught_by_the_mean_and_noise_by_the_deviation(oracle):
    vae = VAE(*oracle.pair())
    shifted = predictive_checks(vae, oracle.x + 1.0).table
    assert shifted.loc["mean", "pit_p"] < 1e-3
    assert shifted.loc["mean", "prior_p"] == 0.0
    noise = torch.randn(oracle.x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noisy = predictive_checks(vae, oracle.x + 2 * noise).table
    assert noisy.loc["deviation", "pit_p"] < 1e-3
    assert noisy.loc["deviation", "posterior_p"] < 0.01


def test_pit_is_that_of_the_closed_form(oracle):
    """x₀ ~ N(b₀, Σ₀₀): ranks among 2,000 draws within 5 standard errors (0.056) of the exact distribution function."""
    found = predictive_checks(VAE(*oracle.pair()), oracle.x, {"first": lambda x: x[:, 0]}, draws=2_000)
    marginal = torch.distributions.Normal(oracle.bias[0], oracle.covariance[0, 0].sqrt())
    assert (torch.from_numpy(found.pit["first"]) - marginal.cdf(oracle.x[:, 0])).abs().max() < 0.056
    row = found.table.loc["first"]
    assert row["observed"] == pytest.approx(float(oracle.x[:, 0].mean()))
    assert row["prior"] == pytest.approx(float(oracle.bias[0]), abs=0.02)


def test_global_latents_come_from_the_guide(monkeypatch):
    """x* given the data seen: N(m, s² + ρ² + σ²), in every tile with the same draws of w."""
    monkeypatch.setattr(tiles, "TILE", 2_000)
    oracle = oracles.normal_hierarchy()
    found = predictive_checks(VAE(oracle.model, oracle.guide()), oracle.x, {"x": lambda x: x[:, 0]}, draws=1_000)
    loc, scale = oracle.posterior_w()
    predictive = torch.distributions.Normal(loc, (scale**2 + oracle.rho**2 + oracle.sigma**2).sqrt())
    assert (torch.from_numpy(found.pit["x"]) - predictive.cdf(oracle.x)).abs().max() < 5 * 0.5 / 1_000**0.5


def test_binary_data_have_ties():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Bernoulli(logits=z[..., None].expand(*z.shape, 4)).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x.mean(1), 1.0))

    generator = torch.Generator().manual_seed(1)
    x = torch.bernoulli(torch.randn(300, 1, generator=generator).expand(300, 4).sigmoid(), generator=generator)
    assert predictive_checks(VAE(model, guide), x).table.loc["mean", "pit_p"] > 1e-3


def test_a_statistic_of_the_wrong_shape(oracle):
    with pytest.raises(DataError, match="'all' gave shape"):
        predictive_checks(VAE(*oracle.pair()), oracle.x[:5], {"all": lambda x: x.mean()})
