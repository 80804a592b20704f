"""`evaluate` against closed forms."""

import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.core import tiles
from ppl_vae.core.pair import VAE
from ppl_vae.datasets.split import Split
from ppl_vae.diagnostics.evaluate import evaluate
from ppl_vae.errors import CheckError, DataError
from ppl_vae.estimators import Enumerate, ScoreFunction
from tests import oracles


@pytest.fixture
def oracle():
    return oracles.linear_gaussian(num_data=12)


def test_exact_posterior_has_no_variance(oracle):
    e = evaluate(VAE(*oracle.pair()), oracle.x, num_particles=300)
    exact = oracle.log_evidence()
    torch.testing.assert_close(-torch.tensor(e.table["nll"].to_numpy()), exact, atol=1e-8, rtol=0)
    torch.testing.assert_close(torch.tensor(e.table["elbo"].to_numpy()), exact, atol=1e-8, rtol=0)
    assert e.summary["nll"] == pytest.approx(-float(exact.mean()), abs=1e-8)
    assert e.summary["nll_se"] < 1e-8
    assert [e.summary[k] for k in ("pareto_k", "pareto_k_max", "pareto_k_bad")] == [0.0, 0.0, 0.0]
    assert e.summary["ess"] == pytest.approx(300)
    assert e.summary["gap"] == pytest.approx(0.0, abs=1e-8)
    mean, covariance = oracle.posterior()
    # No closed form is registered for this pair of distributions: 3,600 draws, five standard errors are 0.1.
    assert e.summary["kl"] == pytest.approx(float(oracle.kl(mean, covariance).mean()), abs=0.1)


def test_evidence_within_standard_errors(oracle):
    """A mean-field guide, 2,000 particles: nll within 4 standard errors of the exact one, false-alarm rate 6e-5."""
    e = evaluate(VAE(*oracle.pair(diagonal=True)), oracle.x, num_particles=2_000)
    exact = -float(oracle.log_evidence().mean())
    assert 0 < e.summary["nll_se"] < 0.02
    assert abs(e.summary["nll"] - exact) < 4 * e.summary["nll_se"]
    mean, covariance = oracle.posterior()
    elbo = float(oracle.elbo(mean, torch.diag(covariance.diagonal())).mean())
    assert abs(e.summary["elbo"] - elbo) < 4 * e.summary["elbo_se"]
    assert e.summary["gap"] == pytest.approx(-exact - elbo, abs=0.05)


def test_standard_error_is_calibrated_over_seeds():
    """120 seeds: the spread of nll over the mean standard error is 1 within 4/√240 = 0.26: false-alarm rate 6e-5."""
    oracle = oracles.linear_gaussian(num_data=6)
    vae = VAE(*oracle.pair(diagonal=True))
    runs = [evaluate(vae, oracle.x, num_particles=200, seed=seed).summary for seed in range(120)]
    nll = torch.tensor([run["nll"] for run in runs])
    se = torch.tensor([run["nll_se"] for run in runs])
    assert float(nll.std() / se.mean()) == pytest.approx(1.0, abs=0.26)


def test_kl_per_unit_is_exact():
    oracle = oracles.linear_gaussian(orthogonal=True)
    e = evaluate(VAE(*oracle.pair(diagonal=True)), oracle.x, num_particles=50)
    mean, covariance = oracle.posterior()
    s2 = covariance.diagonal()
    exact = 0.5 * (s2 + mean.square() - 1 - s2.log()).mean(0)
    assert e.units["kl"].tolist() == pytest.approx(exact.tolist(), abs=1e-9)
    assert e.summary["kl_per_unit"]["z"] == e.units["kl"].tolist()
    # The total is that of the draws: −elbo − reconstruction; its error is that of log q − log p over all draws.
    assert e.summary["kl"] == pytest.approx(-e.summary["elbo"] - e.summary["reconstruction"], abs=1e-9)
    error = float((mean.shape[1] / 2) ** 0.5 + mean.abs().mean() * mean.shape[1] ** 0.5) / (50 * len(mean)) ** 0.5
    assert abs(sum(e.units["kl"]) - e.summary["kl"]) < 5 * error


def test_active_units(oracle):
    """A unit that the guide ignores has a posterior mean that does not vary."""
    guide = oracle.guide(diagonal=True)
    with torch.no_grad():
        guide.gain[1] = 0
        guide.offset[1] = 0.3
    e = evaluate(VAE(oracle.model(), guide), oracle.x, num_particles=2_000)
    assert e.units["active"].tolist() == [True, False]
    assert (e.summary["active_units"], e.summary["num_units"]) == (1, 2)
    mean = guide.mean(oracle.x).detach().var(0)
    assert e.units["variance"].tolist() == pytest.approx(mean.tolist(), abs=0.01)


def test_too_narrow_a_guide_is_caught(oracle):
    narrow = evaluate(VAE(*oracle.altered(0.3)), oracle.x, num_particles=2_000)
    good = evaluate(VAE(*oracle.pair(diagonal=True)), oracle.x, num_particles=2_000)
    assert narrow.summary["pareto_k_bad"] > 0.9
    assert good.summary["pareto_k_bad"] == 0


def test_seeded_and_leaves_no_trace(oracle):
    vae = VAE(*oracle.pair(diagonal=True)).train()
    before = torch.get_rng_state()
    first = evaluate(vae, oracle.x, num_particles=100, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert vae.training
    assert vae.model.training
    torch.randn(3)
    assert evaluate(vae, oracle.x, num_particles=100, seed=1).table.equals(first.table)
    assert not evaluate(vae, oracle.x, num_particles=100, seed=2).table.equals(first.table)


def test_no_result_depends_on_the_memory_budget(oracle):
    vae = VAE(*oracle.pair(diagonal=True))
    first = evaluate(vae, oracle.x, num_particles=1_000, memory="16MB")
    assert evaluate(vae, oracle.x, num_particles=1_000, memory=2**40).table.equals(first.table)
    with pytest.raises(DataError, match="at least 16MB"):
        evaluate(vae, oracle.x, num_particles=1_000, memory="1MB")


def test_many_tiles(oracle, monkeypatch):
    """Another grid takes other draws of the same quantity; 4 standard errors, false-alarm rate 6e-5."""
    vae = VAE(*oracle.pair(diagonal=True))
    first = evaluate(vae, oracle.x, num_particles=1_000)
    calls = []
    monkeypatch.setattr(tiles, "TILE", 20_000)
    small = evaluate(vae, oracle.x, num_particles=1_000, progress=lambda *args: calls.append(args))
    assert calls[-1][0] == calls[-1][1] == len(calls) > 10
    difference = abs(small.summary["nll"] - first.summary["nll"])
    assert difference < 4 * math.hypot(small.summary["nll_se"], first.summary["nll_se"])


def test_weights_of_training_do_not_count(oracle):
    model, guide = oracle.pair()
    scaled = VAE(pyro.poutine.scale(model, scale=0.1), pyro.poutine.scale(guide, scale=0.1))
    e = evaluate(scaled, oracle.x, num_particles=50)
    assert e.summary["elbo"] == pytest.approx(float(oracle.log_evidence().mean()), abs=1e-8)


def test_global_latents_are_predictive():
    """log E over q(w) of p(x*|w) for the hierarchy: x* ~ N(m, s² + ρ² + σ²); within 4 standard errors, rate 6e-5."""
    oracle = oracles.normal_hierarchy()
    new = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    vae = VAE(oracle.model, oracle.guide())
    e = evaluate(vae, new, num_particles=20_000)
    loc, scale = oracle.posterior_w()
    spread = (scale**2 + oracle.rho**2 + oracle.sigma**2).sqrt()
    exact = torch.distributions.Normal(loc, spread).log_prob(new)
    assert abs(e.summary["nll"] + float(exact.mean())) < 4 * e.summary["nll_se"]
    w = torch.distributions.kl_divergence(
        torch.distributions.Normal(loc, scale), torch.distributions.Normal(0.0 * loc, oracle.tau)
    )
    # Of draws: log q − log p has a standard deviation below 1 nat here; 5 standard errors.
    assert e.summary["kl_global"]["w"] == pytest.approx(float(w), abs=5 / 20_000**0.5)


def test_pareto_k_is_conditional_on_global_latents():
    """With the exact q(z | x, w) all weights given w are p(x | w): k̂ is 0, though w varies."""
    oracle = oracles.normal_hierarchy()
    guide = oracle.guide()
    vae = VAE(oracle.model, guide)
    e = evaluate(vae, oracle.x, num_particles=400)
    assert e.summary["pareto_k_max"] == 0.0
    assert e.summary["ess"] == pytest.approx(400)
    assert e.summary["nll_se"] > 1e-4
    with torch.no_grad():
        guide.log_s -= 1.5
    assert evaluate(vae, oracle.x, num_particles=2_000).summary["pareto_k_bad"] > 0.8


def test_standard_error_with_global_latents():
    """Data share draws of w, so their errors add up. 100 seeds: 1 within 4/√200 = 0.28, false-alarm rate 6e-5."""
    oracle = oracles.normal_hierarchy()
    vae = VAE(oracle.model, oracle.guide())
    new = torch.tensor([2.0, 2.5, 3.0], dtype=torch.float64)
    runs = [evaluate(vae, new, num_particles=100, seed=seed).summary for seed in range(100)]
    for value, error in (("nll", "nll_se"), ("elbo", "elbo_se")):
        spread = torch.tensor([run[value] for run in runs]).std()
        assert float(spread / torch.tensor([run[error] for run in runs]).mean()) == pytest.approx(1.0, abs=0.28)


class Discrete(nn.Module):
    """Three clusters at −4, 0, 4; the guide knows the exact posterior."""

    centres = torch.tensor([-4.0, 0.0, 4.0])

    def model(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(3) / 3))
            pyro.sample("x", dist.Normal(self.centres[c], 1.0), obs=x)

    def guide(self, x):
        logits = dist.Normal(self.centres, 1.0).log_prob(x[:, None])
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(logits=logits))


def test_discrete_latents():
    pair, x = Discrete(), torch.tensor([-4.0, 1.9, 3.0])
    e = evaluate(VAE(pair.model, pair.guide), x, num_particles=200)
    exact = dist.Normal(pair.centres, 1.0).log_prob(x[:, None]).logsumexp(-1) - math.log(3)
    assert (-e.table["nll"]).tolist() == pytest.approx(exact.tolist(), abs=1e-5)
    assert e.summary["num_units"] == 0  # whole numbers have no posterior mean


def test_enumerated_latents_are_summed_out():
    """A guide that is far off gives the exact evidence all the same, as the sum over c is taken, not sampled."""
    pair, x = Discrete(), torch.tensor([-4.0, 1.9, 3.0])

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("c", dist.Categorical(torch.tensor([0.98, 0.01, 0.01])))

    e = evaluate(VAE(pair.model, guide, estimators={"c": Enumerate()}), x, num_particles=3)
    exact = dist.Normal(pair.centres, 1.0).log_prob(x[:, None]).logsumexp(-1) - math.log(3)
    assert (-e.table["nll"]).tolist() == pytest.approx(exact.tolist(), abs=1e-5)
    drawn = evaluate(VAE(pair.model, guide, estimators={"c": ScoreFunction()}), x, num_particles=3)
    assert (-drawn.table["nll"]).tolist() != pytest.approx(exact.tolist(), abs=0.1)


def test_units_that_depend_on_an_enumerated_latent():
    """z | c ~ N(3c, 1), q(z | x, c) = N(3c, ½²), q(c = 1) = ¼ + x/2: E[z | x] = 3 q(c = 1), KL per unit known."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.Bernoulli(0.5 * torch.ones(())))
            z = pyro.sample("z", dist.Normal(3 * c, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.Bernoulli(0.25 + x / 2))
            pyro.sample("z", dist.Normal(3 * c, 0.5))

    x = torch.tensor([0.0, 0.2, 0.5, 1.0])
    e = evaluate(VAE(model, guide, estimators={"c": Enumerate()}), x, num_particles=4_000)
    row = e.units.set_index("site").loc["z"]
    assert row["kl"] == pytest.approx(0.5 * (0.25 - 1) + math.log(2), abs=1e-5)
    assert row["variance"] == pytest.approx(float((3 * (0.25 + x / 2)).var()), abs=0.02)


class Auto(nn.Module):
    """A deterministic autoencoder."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(4, 2), nn.Linear(2, 4)

    def model(self, x):
        with pyro.plate("data", x.shape[0]):
            prior = dist.ImproperUniform(dist.constraints.real_vector, (), (2,))
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(self.up(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Delta(self.down(x), event_dim=1))


def test_an_improper_prior_has_no_evidence():
    """A guide with noise makes none: log p(x | z) − log q(z | x) is then no bound of any log p(x)."""
    data = pv.datasets.load("digits", binarization="static")
    model = pv.models.Autoencoder(data.spec, latent_dim=2, hidden=(4,))
    vae = VAE(model, pv.guides.Amortized(data.spec, model, hidden=(4,)))
    summary = evaluate(vae, data.test[:20], num_particles=4).summary
    assert "improper" in summary["reason"]
    assert math.isnan(summary["nll"])
    assert math.isnan(summary["elbo"])
    assert summary["reconstruction"] > 0


def test_deterministic_autoencoder_has_no_evidence():
    pair, x = Auto(), torch.randn(10, 4)
    e = evaluate(VAE(pair.model, pair.guide), x, num_particles=100)
    assert "deterministic" in e.summary["reason"]
    assert all(math.isnan(e.summary[name]) for name in ("nll", "nll_se", "elbo", "gap", "ess"))
    expected = -dist.Normal(pair.up(pair.down(x)), 1.0).to_event(1).log_prob(x).mean()
    assert e.summary["reconstruction"] == pytest.approx(expected.item(), abs=1e-5)
    assert e.summary["num_units"] == 2
    assert "none" in str(e)


def test_table_and_files(oracle, tmp_path):
    split = Split((oracle.x,), labels=torch.arange(12))[4:]
    e = evaluate(VAE(*oracle.pair(diagonal=True)), split, num_particles=100)
    assert e.table.index.tolist() == list(range(4, 12))
    assert e.table["label"].tolist() == list(range(4, 12))
    assert e.summary["nll"] == pytest.approx(e.table["nll"].mean())
    e.save(tmp_path / "evaluation")
    assert sorted(p.name for p in (tmp_path / "evaluation").iterdir()) == ["summary.json", "table.csv", "units.csv"]
    saved = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
    for key in ("elbo", "nll", "nll_se", "num_particles", "kl", "active_units", "pareto_k", "n"):
        assert isinstance(saved[key], int | float)
    assert saved["reason"] is None
    assert "−log p(x)" in str(e)


def test_bad_requests(oracle):
    vae = VAE(*oracle.pair())
    with pytest.raises(DataError, match="no data"):
        evaluate(vae, oracle.x[:0])
    with pytest.raises(DataError, match="memory"):
        evaluate(vae, oracle.x, memory="lots")
    with pytest.raises(ValueError, match="num_particles=0"):
        evaluate(vae, oracle.x, num_particles=0)


def test_joint_observation_is_refused():
    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0).expand(x.shape).to_event(1), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(x.mean(), 1.0))

    with pytest.raises(CheckError, match=r"plate"):
        evaluate(VAE(model, guide), torch.randn(5))
