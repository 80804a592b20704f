"""Sites that only the model has are summed out, above and below what the guide draws."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import config_enumerate

import ppl_vae as pv
from ppl_vae.errors import CheckError

X = torch.tensor([-2.0, 0.3, 1.7, 0.9], dtype=torch.float64)
PI, MEANS, SCALES = (torch.tensor(v, dtype=torch.float64) for v in ([0.3, 0.7], [-2.0, 1.5], [0.5, 0.8]))
SCALE = torch.tensor(0.7, dtype=torch.float64)
ONE = torch.ones((), dtype=torch.float64)


def mixture(x):
    with pyro.plate("data", x.shape[0]):
        c = pyro.sample("c", dist.Categorical(PI), infer={"enumerate": "parallel"})
        z = pyro.sample("z", dist.Normal(MEANS[c], SCALES[c]))
        pyro.sample("x", dist.Normal(z, ONE), obs=x)


def guide(x):
    with pyro.plate("data", x.shape[0]):
        pyro.sample("z", dist.Normal(0.6 * x, SCALE))


def by_quadrature():
    z = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    step = z[1] - z[0]
    q = dist.Normal(0.6 * X[:, None], SCALE).log_prob(z)
    prior = dist.MixtureSameFamily(dist.Categorical(PI), dist.Normal(MEANS, SCALES)).log_prob(z)
    likelihood = dist.Normal(z, ONE).log_prob(X[:, None])
    mean = lambda f: float((q.exp() * f).sum(1).mean() * step)  # noqa: E731
    evidence = float(((prior + likelihood).exp().sum(1) * step).log().mean())
    return {"kl": mean(q - prior), "reconstruction": -mean(likelihood), "evidence": evidence}


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_the_prior_of_a_drawn_site_is_the_sum(beta):
    """4,000 draws of 4 data; the tolerance is 5 standard errors (6e-7)."""
    want = by_quadrature()
    vae = pv.VAE(mixture, guide)
    pyro.set_rng_seed(0)
    bound = pv.objectives.ELBO(4000, beta=beta)(vae, X)
    pyro.set_rng_seed(0)
    t = pv.terms(vae, X, 4000)
    spread = (t.log_likelihood - beta * t.kl()["z"]).mean(1).std() / 4000**0.5
    assert abs(float(bound.value) + want["reconstruction"] + beta * want["kl"]) < 5 * float(spread)
    assert torch.allclose(t.local_elbo, t.log_likelihood - t.kl()["z"])
    assert torch.allclose(bound.metrics["elbo"], bound.metrics["log_likelihood"] - bound.metrics["kl/z"])


def test_evaluation_and_posterior():
    """2,000 draws; the tolerance is 5 standard errors (6e-7)."""
    want, vae = by_quadrature(), pv.VAE(mixture, guide)
    summary = pv.evaluate(vae, X, 2000).summary
    assert abs(-summary["nll"] - want["evidence"]) < 5 * summary["nll_se"]
    assert summary["elbo"] == pytest.approx(-summary["reconstruction"] - summary["kl"], abs=1e-9)
    drawn = pv.posterior(vae, X, draws=10)
    assert list(drawn["posterior"].data_vars) == ["z"]
    assert list(drawn["log_likelihood"].data_vars) == ["x"]
    assert (drawn["observed_data"]["x"].values == X.numpy()).all()


def test_what_needs_one_prior_is_refused():
    with pytest.raises(CheckError, match="The prior of 'z' is a sum"):
        pv.objectives.InfoVAE()(pv.VAE(mixture, guide), X)


def test_data_inside_one_logarithm_are_needed_all_at_once():
    def one_for_all(x):
        c = pyro.sample("c", dist.Categorical(PI), infer={"enumerate": "parallel"})
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(MEANS[c], ONE), obs=x)

    vae = pv.VAE(one_for_all, lambda x: None)
    whole = pv.objectives.ELBO()(vae, X).value * len(X)
    joint = (PI.log() + dist.Normal(MEANS, ONE).log_prob(X[:, None]).sum(0)).logsumexp(0)
    assert float(whole) == pytest.approx(float(joint))
    with pytest.raises(CheckError, match="inside its logarithm"):
        pv.objectives.ELBO()(vae, X, total=40)


@pytest.mark.parametrize("history", [0, 1])
def test_a_history_that_is_too_short_is_refused(history):
    table = torch.tensor([[0.2, 0.5], [0.7, 0.9]], dtype=torch.float64)

    @config_enumerate
    def model(y):
        before = now = torch.tensor(0)
        for t in pyro.markov(range(5), history=history):
            before, now = now, pyro.sample(f"x_{t}", dist.Bernoulli(table[before, now])).long()
            pyro.sample(f"y_{t}", dist.Bernoulli(table[0][now]), obs=y[t])

    with pytest.raises(CheckError, match="history"):
        pv.objectives.ELBO()(pv.VAE(model, lambda y: None), torch.ones(5, dtype=torch.float64))


def test_two_parents_on_one_axis_are_refused():
    """In a grid of nested `markov` loops, a cell's two parents get one axis, and its table is read along a diagonal."""
    table = torch.tensor([[[0.7, 0.3], [0.4, 0.6]], [[0.2, 0.8], [0.9, 0.1]]], dtype=torch.float64)

    @config_enumerate
    def model(y):
        cells = {}
        columns = pyro.markov(range(2), keep=True)
        for i in pyro.markov(range(2)):
            for j in columns:
                above, left = (cells.get(k, torch.tensor(0)) for k in ((i - 1, j), (i, j - 1)))
                cells[i, j] = pyro.sample(f"x_{i}_{j}", dist.Categorical(table[above, left]))
                if i == j == 1:
                    pyro.sample("y", dist.Bernoulli(0.2 + cells[1, 1] / 2), obs=y)

    with pytest.raises(CheckError, match="one axis"):
        pv.objectives.ELBO()(pv.VAE(model, lambda y: None), (torch.tensor(1.0),))


def test_a_site_below_a_markov_loop_that_has_ended_is_refused():
    """Beyond the loop its axes are given out again: Pyro cannot pack the site either."""

    @config_enumerate
    def model(y):
        state = torch.tensor(0)
        for t in pyro.markov(range(2)):
            state = pyro.sample(f"x_{t}", dist.Bernoulli(0.3 + 0.4 * state)).long()
        pyro.sample("y", dist.Bernoulli(0.2 + state / 2), obs=y)

    with pytest.raises(CheckError, match="of a loop that has ended"):
        pv.objectives.ELBO()(pv.VAE(model, lambda y: None), (torch.tensor(1.0),))


def test_a_chain_that_the_guide_enumerates_has_axes_of_its_own():
    """The ELBO over all 16 paths of a chain of four, written out; `pyro.markov` would use two axes for them."""
    table = torch.tensor([[0.8, 0.2], [0.3, 0.7]], dtype=torch.float64)
    other = torch.tensor([[0.6, 0.4], [0.1, 0.9]], dtype=torch.float64)
    x = torch.tensor([0.2, -1.0, 0.7, 1.9], dtype=torch.float64)

    def chain(rows, obs):
        def program(x):
            s = torch.tensor(0)
            for t in pyro.markov(range(4)):
                s = pyro.sample(f"s_{t}", dist.Categorical(rows[s]))
                if obs:
                    pyro.sample(f"x_{t}", dist.Normal(MEANS[s], ONE), obs=x[t])

        return program

    want = 0.0
    for path in torch.cartesian_prod(*[torch.arange(2)] * 4):
        log_p = log_q = torch.zeros((), dtype=torch.float64)
        before = 0
        for t, s in enumerate(path.tolist()):
            log_p = log_p + table[before, s].log() + dist.Normal(MEANS[s], ONE).log_prob(x[t])
            log_q, before = log_q + other[before, s].log(), s
        want += float(log_q.exp() * (log_p - log_q))
    vae = pv.VAE(chain(table, True), config_enumerate(chain(other, False)))
    assert float(pv.objectives.ELBO()(vae, (x,)).value * pv.terms(vae, (x,)).total) == pytest.approx(want)


def test_a_sum_of_neither_draws_nor_data_is_nothing():
    """Σ_c p(c) = 1: a site that nothing depends on. 2,000 draws, 5 standard errors (6e-7)."""

    def idle(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("c", dist.Categorical(PI), infer={"enumerate": "parallel"})
            z = pyro.sample("z", dist.Normal(0 * ONE, ONE))
            pyro.sample("x", dist.Normal(z, ONE), obs=x)

    vae = pv.VAE(idle, guide)
    assert pv.check(vae, X).strategy  # and raises nothing
    assert set(pv.terms(vae, X).kl()) == {"z"}
    assert float(pv.objectives.ELBO(kl="analytic")(vae, X).value) < 0
    found = pv.evaluate(vae, X, 2000).summary
    want = dist.Normal(0 * ONE, math.sqrt(2) * ONE).log_prob(X).mean()
    assert abs(-found["nll"] - float(want)) < 5 * found["nll_se"]
