"""HMC chains from a wrong guide reach the exact posterior, and ArviZ can tell."""

import numpy as np
import pytest
import torch

from ppl_vae.core.pair import VAE
from ppl_vae.inference_data import _arviz
from ppl_vae.mcmc.refine import refine
from tests import oracles

pytestmark = pytest.mark.slow  # four hundred transitions of eight leapfrog steps


@pytest.fixture(scope="module")
def found():
    oracle = oracles.linear_gaussian(num_data=2)
    guide = oracle.guide(diagonal=True)
    with torch.no_grad():
        guide.offset += 2.0
        guide.log_diagonal -= 0.7
    before = torch.get_rng_state()
    data = refine(VAE(oracle.model(), guide), oracle.x, draws=300, chains=4, warmup=100, leapfrog=8, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    return oracle, data


def test_moments_are_the_exact_ones(found):
    """1,200 draws, effectively at least 144 (checked below): four means within 5 standard errors of 1/12 deviation."""
    oracle, data = found
    z = _arviz.to_tree(data)["posterior"]["z"]
    assert z.dims == ("chain", "draw", "datum", "z_dim")
    mean, covariance = oracle.posterior()
    deviation = covariance.diagonal().sqrt().numpy()
    assert (np.abs(z.mean(("chain", "draw")) - mean.numpy()) < 5 * deviation / 12).all()
    assert np.allclose(z.std(("chain", "draw")), deviation, rtol=0.3)


@pytest.mark.filterwarnings("ignore")  # ArviZ's own
def test_chain_diagnostics_mean_something(found):
    _, data = found
    assert float(_arviz.az.rhat(data)["z"].max()) < 1.05
    assert float(_arviz.az.ess(data)["z"].min()) > 144
    rate = _arviz.to_tree(data)["sample_stats"]["acceptance_rate"]
    assert 0.5 < float(rate.mean()) < 0.99
