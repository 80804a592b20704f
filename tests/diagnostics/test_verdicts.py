"""Which diagnostic catches which fault, and that a good guide raises no alarm; all against exact answers."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.core.pair import VAE
from ppl_vae.core.simulate import simulate
from ppl_vae.diagnostics import ais, bracket, calibrate, evaluate, gaps
from ppl_vae.diagnostics.aggregate import aggregate
from ppl_vae.diagnostics.predictive_checks import predictive_checks
from ppl_vae.mcmc import ais as annealing
from tests import oracles

F64 = torch.float64


@pytest.fixture(scope="module")
def oracle():
    return oracles.linear_gaussian(num_data=20, orthogonal=True)


def collapsed(oracle):
    guide = oracle.guide(diagonal=True)
    with torch.no_grad():
        guide.gain.zero_()
        guide.offset.zero_()
        guide.log_diagonal.zero_()
    return VAE(oracle.model(), guide)


def test_a_good_guide_raises_no_alarm():
    """The exact guide on 30 data sets: k̂, gap and units never alarm; p-values below 0.01 at most twice of 60.

    0.6 are expected, so that more than two come with probability 0.02: the false-alarm rate of this test over seeds,
    which are fixed here.
    """
    alarms = 0
    for seed in range(30):
        oracle = oracles.linear_gaussian(num_data=40, orthogonal=True, seed=seed)
        vae = VAE(*oracle.pair(diagonal=True))
        found = evaluate(vae, oracle.x, num_particles=200, seed=seed).summary
        assert found["pareto_k_bad"] == 0
        assert found["gap"] == pytest.approx(0.0, abs=1e-8)
        assert found["active_units"] == found["num_units"]
        alarms += calibrate(vae, 300, 50, like=oracle.x, seed=seed).summary["p_value"] < 0.01
        checked = predictive_checks(vae, oracle.x, {"first": lambda x: x[:, 0]}, seed=seed)
        alarms += checked.table["pit_p"].min() < 0.01
    assert alarms <= 2


def test_false_alarms_of_a_mean_field_guide():
    """A good, not exact, guide: 20 data sets of 20, k̂ above 0.7 for less than 1% of the data in all."""
    bad = []
    for seed in range(20):
        oracle = oracles.linear_gaussian(num_data=20, seed=seed)
        bad.append(evaluate(VAE(*oracle.pair(diagonal=True)), oracle.x, 1_000, seed=seed).summary["pareto_k_bad"])
    assert np.mean(bad) < 0.01


def test_too_narrow_a_guide(oracle):
    """Caught by k̂, by ranks that pile up at the ends, and by its gap: log evidence stays exact where k̂ allows it."""
    vae = VAE(*oracle.altered(0.3))
    assert evaluate(vae, oracle.x, 2_000).summary["pareto_k_bad"] > 0.8
    found = calibrate(vae, 500, 50, like=oracle.x)
    assert found.summary["p_value"] < 0.01
    assert "too narrow" in found.summary["verdict"]
    table = gaps(vae, oracle.x, steps=200, num_particles=1_000)
    # KL of N(m, 0.3² s²) to N(m, s²) per unit, all of it amortization: the family holds the exact posterior.
    exact = 2 * (0.5 * (0.09 - 1) - math.log(0.3))
    assert table["amortization"].mean() == pytest.approx(exact, abs=0.05)
    assert table["approximation"].abs().max() < 0.05


def test_a_collapsed_guide(oracle):
    """Caught by units, information and TARP; ranks of single units cannot see it, as they average over x."""
    vae = collapsed(oracle)
    found = evaluate(vae, oracle.x, 2_000)
    assert found.summary["active_units"] == 0
    assert found.summary["kl"] == pytest.approx(0.0, abs=1e-9)
    assert aggregate(vae, oracle.x)["information"].abs().max() < 1e-9
    judged = calibrate(vae, 2_000, 100, like=oracle.x)
    assert judged.table["p_value"][:2].min() > 1e-3
    assert judged.summary["tarp_p_value"] < 0.01


class TwoModes:
    """z ~ N(0, 1), x ~ N(|z|, 0.1²): the posterior has a mode at x and one at −x; this guide knows the first."""

    def model(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=F64), 1.0))
            pyro.sample("x", dist.Normal(z.abs(), 0.1), obs=x)

    def guide(self, x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x / 1.01, 0.1 / 1.01**0.5))

    @staticmethod
    def log_evidence(x):
        """2 ∫ over z > 0, for x far from 0: log 2 N(x; 0, 1.01)."""
        return math.log(2) + dist.Normal(0.0, 1.01**0.5).log_prob(x)


def test_a_wrong_mode_guide():
    """k̂ and ESS are blind to a mode that no draw has seen; ranks, and annealing from the prior, are not."""
    pair, x = TwoModes(), torch.tensor([1.0, 1.5, 2.0], dtype=F64)
    vae, exact = VAE(pair.model, pair.guide), pair.log_evidence(x)
    blind = evaluate(vae, x, 2_000)
    assert blind.summary["pareto_k_bad"] == 0
    assert (-blind.table["nll"]).tolist() == pytest.approx((exact - math.log(2)).tolist(), abs=0.01)
    assert calibrate(vae, 500, 50, like=x).summary["p_value"] < 0.01
    # 64 chains, of which half go to either mode: relative standard error below 0.15, four of them.
    annealed = ais(vae, x, chains=64, steps=100, start="prior")
    assert annealed["log_evidence"].tolist() == pytest.approx(exact.tolist(), abs=0.5)
    assert (annealed["log_evidence"].to_numpy() > (-blind.table["nll"]).to_numpy() + 0.3).all()


def test_annealing_brackets_exact_evidence(oracle, monkeypatch):
    """40 simulated data, a guide that is too narrow: lower ≤ exact ≤ upper on average, within 4 standard errors."""
    seen = []

    def remember(*args):
        batch, latent = simulate(*args)
        seen.append(batch[0])
        return batch, latent

    monkeypatch.setattr(annealing, "simulate", remember)
    table = bracket(VAE(*oracle.altered(0.5)), 40, chains=16, steps=60, like=oracle.x)
    exact = oracle.log_evidence(torch.cat(seen)).numpy()
    for error, se in ((exact - table["lower"], table["lower_se"]), (table["upper"] - exact, table["upper_se"])):
        assert error.mean() > -4 * math.sqrt((se**2).sum()) / 40
    assert table["gap"].mean() < 0.2
