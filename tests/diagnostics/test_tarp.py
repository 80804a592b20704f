"""TARP: uniform for the exact posterior; wrong dependence and the prior as guide are caught."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.core.pair import VAE
from ppl_vae.diagnostics.calibration import calibrate
from tests import oracles


@pytest.fixture(scope="module")
def oracle():
    return oracles.linear_gaussian()


def test_no_false_alarm(oracle):
    """60 seeds of the exact guide: at most 9 p-values below 0.05 (3 expected; false-alarm rate 1e-3)."""
    vae = VAE(*oracle.pair())
    p = [calibrate(vae, 200, 40, like=oracle.x, seed=seed).summary["tarp_p_value"] for seed in range(60)]
    assert sum(value < 0.05 for value in p) <= 9


def test_the_prior_as_guide_passes_ranks_and_not_tarp(oracle):
    """A collapsed guide has uniform ranks in every unit: only a reference that knows x tells it from the posterior."""

    def guide(x):
        zero = torch.zeros(2, dtype=torch.float64)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(zero, torch.ones_like(zero)).to_event(1))

    found = calibrate(VAE(oracle.model(), guide), 2_000, 100, like=oracle.x)
    assert found.table["p_value"][:2].min() > 1e-3
    assert found.summary["tarp_p_value"] < 1e-2
    assert "all units together" in found.summary["verdict"]


def test_wrong_dependence():
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


def test_without_continuous_latents():
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
