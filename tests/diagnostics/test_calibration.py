"""Exact guides raise no alarm; narrow, wide and biased ones are caught by name, wrong dependence by TARP."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.core.pair import VAE
from ppl_vae.diagnostics.calibration import (
    _verdict,
    calibrate,
    central_coverage,
    ecdf_difference,
    grid,
    simultaneous_band,
    uniformity_p,
)
from ppl_vae.errors import CheckError
from ppl_vae.plots.calibration import calibration
from tests import oracles


@pytest.fixture
def oracle():
    return oracles.linear_gaussian(orthogonal=True)


def test_bands_hold_simultaneously():
    """2,000 uniform samples of 200: a share of 5% leaves the 95% band somewhere, ± 4 standard errors (0.02)."""
    values = np.random.default_rng(5).uniform(size=(200, 2_000))
    low, high = simultaneous_band(200, 30)
    difference = ecdf_difference(values, grid(30))
    out = ((difference < low[:, None] - 1e-12) | (difference > high[:, None] + 1e-12)).any(0)
    assert out.mean() == pytest.approx(0.05, abs=0.025)  # level found by simulation: ± 0.006 more


def test_p_values_are_uniform():
    """1,000 p-values of uniform samples: 5% below 0.05 and 50% below ½, within 4 standard errors."""
    p = uniformity_p(np.random.default_rng(6).uniform(size=(300, 1_000)))
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.035)
    assert (p < 0.5).mean() == pytest.approx(0.5, abs=0.07)


def test_central_coverage():
    u = np.linspace(0.005, 0.995, 100)[:, None]
    np.testing.assert_allclose(central_coverage(u, [0.5, 0.9])[:, 0], [0.5, 0.9], atol=0.011)


def test_exact_guide_is_calibrated(oracle):
    """40 seeds of an exact guide with two units: alarms at the 5% level in at most 8 (false-alarm rate below 1e-3)."""
    vae = VAE(*oracle.altered())
    found = [calibrate(vae, 200, 50, like=oracle.x, seed=seed).summary for seed in range(40)]
    assert sum(f["p_value"] < 0.05 for f in found) <= 8
    assert np.mean([f["coverage_90"] for f in found]) == pytest.approx(0.9, abs=0.015)
    assert np.mean([f["spread"] for f in found]) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("factor", "shift", "verdict"), [(0.6, 0.0, "too narrow"), (1.7, 0.0, "too wide"), (1.0, 0.4, "biased")]
)
def test_wrong_guides_are_caught(oracle, factor, shift, verdict):
    found = calibrate(VAE(*oracle.altered(factor, shift)), 600, 50, like=oracle.x)
    assert found.summary["p_value"] < 0.01
    assert verdict in found.summary["verdict"]


@pytest.mark.parametrize(
    ("rank", "spread", "words"),
    [(0.473, 1.022, "biased"), (0.5, 1.03, "too narrow"), (0.496, 0.948, "too wide"), (0.503, 0.998, "wrong shape")],
)
def test_the_verdict_names_the_larger_departure_in_standard_errors(rank, spread, words):
    """Of 2000 uniform ranks the mean has a standard error of 0.0065, the spread one of 0.01."""
    worst = {"site": "z", "unit": 2, "rank": rank, "spread": spread}
    assert words in _verdict(0.002, worst, 2000)


def test_coverage_of_a_narrow_guide_is_the_exact_one(oracle):
    """Truth ~ N(m, s²), guide N(m, (s/2)²): its 90% interval covers P(|ε| < 1.645/2) = 0.589, ± 4 standard errors."""
    found = calibrate(VAE(*oracle.altered(0.5)), 2_000, 400, like=oracle.x)
    exact = math.erf(1.6449 / 2 / math.sqrt(2))
    assert found.summary["coverage_90"] == pytest.approx(exact, abs=0.035)


def test_seeded_and_traceless(oracle, tmp_path):
    vae = VAE(*oracle.altered())
    before = torch.get_rng_state()
    first = calibrate(vae, 50, 20, like=oracle.x, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert first.table.equals(calibrate(vae, 50, 20, like=oracle.x, seed=3).table)
    assert first.ranks["z"].shape == (50, 2)
    assert sorted(p.name for p in first.save(tmp_path / "c").iterdir()) == ["ranks.npz", "summary.json", "units.csv"]
    assert "units" in str(first)
    assert calibration(first.ranks["z"]).axes


def test_discrete_latents():
    """An exact guide over three clusters: ranks with ties broken at random are uniform."""
    centres = torch.tensor([-2.0, 0.0, 2.0])

    def model(x):
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.Categorical(torch.ones(3) / 3))
            pyro.sample("x", dist.Normal(centres[c], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("c", dist.Categorical(logits=dist.Normal(centres, 1.0).log_prob(x[:, None])))

    found = calibrate(VAE(model, guide), 1_000, 50, like=torch.zeros(4))
    assert found.summary["p_value"] > 1e-3


def test_transformed_observations_are_refused():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.exp())

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x, 1.0))

    with pytest.raises(CheckError, match="none of the inputs"):
        calibrate(VAE(model, guide), 10, 5, like=torch.zeros(2))


@pytest.fixture(scope="module")
def correlated():
    return oracles.linear_gaussian()


def test_tarp_raises_no_false_alarm(correlated):
    """60 seeds of the exact guide: at most 9 p-values below 0.05 (3 expected; false-alarm rate 1e-3)."""
    vae = VAE(*correlated.pair())
    p = [calibrate(vae, 200, 40, like=correlated.x, seed=seed).summary["tarp_p_value"] for seed in range(60)]
    assert sum(value < 0.05 for value in p) <= 9


def test_the_prior_as_guide_passes_ranks_and_not_tarp(correlated):
    """A collapsed guide has uniform ranks in every unit: only a reference that knows x tells it from the posterior."""

    def guide(x):
        zero = torch.zeros(2, dtype=torch.float64)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(zero, torch.ones_like(zero)).to_event(1))

    found = calibrate(VAE(correlated.model(), guide), 2_000, 100, like=correlated.x)
    assert found.table["p_value"][:2].min() > 1e-3
    assert found.summary["tarp_p_value"] < 1e-2
    assert "all units together" in found.summary["verdict"]


def test_tarp_catches_wrong_dependence():
    """Marginals of the exact posterior, with the sign of its correlation, −0.8, turned round."""
    one = torch.ones(1, 2, dtype=torch.float64)
    oracle = oracles.LinearGaussian(one, one[0, :1], 0.5, torch.zeros(4, 1, dtype=torch.float64))
    guide = oracle.guide()
    covariance = oracle.posterior()[1]
    turned = covariance.clone()
    turned[0, 1] = turned[1, 0] = -covariance[0, 1]

    def wrong(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.MultivariateNormal(guide.mean(x), turned))

    found = calibrate(VAE(oracle.model(), wrong), 3_000, 100, like=oracle.x)
    assert found.table["p_value"][:2].min() > 1e-3
    assert found.summary["tarp_p_value"] < 0.05


def test_no_tarp_without_continuous_latents():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.Categorical(torch.ones(3) / 3))
            pyro.sample("x", dist.Normal(1.0 * c, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("c", dist.Categorical(logits=dist.Normal(torch.arange(3.0), 1.0).log_prob(x[:, None])))

    found = calibrate(VAE(model, guide), 100, 20, like=torch.zeros(4))
    assert "TARP" not in found.ranks
    assert math.isnan(found.summary["tarp_p_value"])
