"""Baselines do not depend on the draw that they are subtracted for."""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import CheckError
from ppl_vae.estimators import DecayingAverage, Enumerate, LeaveOneOut, Neural, Pathwise, ScoreFunction

MEANS = torch.tensor([[0.0, 3.0], [1.0, -2.0]], dtype=torch.float64)
HALF = torch.tensor(0.5, dtype=torch.float64)
ONE = torch.ones((), dtype=torch.float64)


class Coins(nn.Module):
    """q(a) q(b | a), and x given both."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.5, -0.3], dtype=torch.float64))

    def model(self, x):
        with pyro.plate("data", x.shape[0]):
            a, b = (pyro.sample(n, dist.Bernoulli(HALF)) for n in "ab")
            pyro.sample("x", dist.Normal(MEANS[a.long(), b.long()], ONE), obs=x)

    def guide(self, x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Bernoulli(logits=self.logits[0]))
            pyro.sample("b", dist.Bernoulli(logits=4 * (2 * a - 1) * self.logits[1]))

    def exact(self, x):
        total = 0.0
        for a in (0.0, 1.0):
            for b in (0.0, 1.0):
                pair = torch.tensor([a, b], dtype=torch.float64)
                log_q = dist.Bernoulli(logits=self.logits[0]).log_prob(pair[0])
                log_q = log_q + dist.Bernoulli(logits=4 * (2 * a - 1) * self.logits[1]).log_prob(pair[1])
                log_p = 2 * HALF.log() + dist.Normal(MEANS[int(a), int(b)], ONE).log_prob(x)
                total = total + log_q.exp() * (log_p - log_q)
        return torch.autograd.grad(total, self.logits)[0]


BASELINES = {"leave one out": LeaveOneOut, "average": DecayingAverage, "neural": lambda: Neural(hidden=2)}


@pytest.mark.parametrize("particles", [2, 8])
@pytest.mark.parametrize("baseline", BASELINES.values(), ids=BASELINES)  # a loss that learns is no part of q's gradient
@pytest.mark.parametrize("below", [Enumerate(), ScoreFunction()])
def test_above_another_discrete_site(particles, baseline, below):
    """30 gradients of 1,500 data; 6 standard errors (Student's t, 29 degrees: 2e-6 a component)."""
    coins, x = Coins(), torch.ones(1500, dtype=torch.float64)
    vae = pv.VAE(coins.model, coins.guide, estimators={"a": ScoreFunction(baseline()), "b": below})
    pyro.set_rng_seed(0)
    grads = []
    for _ in range(33):
        bound = pv.objectives.ELBO(particles)(vae, x)
        grads.append(torch.autograd.grad(bound.surrogate, coins.logits)[0])
    found = torch.stack(grads[3:])
    error = found.std(0) / len(found) ** 0.5
    assert bool(((found.mean(0) - coins.exact(x[0])).abs() < 6 * error).all())


@pytest.mark.parametrize("name", ["IWAE", "MIWAE", "CIWAE", "Renyi"])
def test_leave_one_out_has_no_other_draw_of_a_global_site_in_a_nested_bound(name):
    def model(x):
        w = pyro.sample("w", dist.Bernoulli(HALF))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(w, ONE), obs=x)

    def guide(x):
        pyro.sample("w", dist.Bernoulli(logits=pyro.param("logit", torch.tensor(0.3, dtype=torch.float64))))

    x = torch.ones(3, dtype=torch.float64)
    objective = getattr(pv.objectives, name)(num_particles=4)
    with pytest.raises(CheckError, match="'w' averages over other draws"):
        objective(pv.VAE(model, guide, estimators={"w": ScoreFunction(LeaveOneOut())}), x)
    vae = pv.VAE(model, guide, estimators={"w": ScoreFunction(DecayingAverage())})
    pyro.set_rng_seed(0)
    grads = [torch.autograd.grad(objective(vae, x).surrogate, list(vae.parameters()))[0] for _ in range(5)]
    assert float(torch.stack(grads).abs().max()) > 0


def test_draws_that_the_user_switched_off_are_scored():
    """Through a step no pathwise gradient flows: −0.842 by quadrature. 20 x 10,000 data, 6 standard errors."""
    loc = nn.Parameter(torch.tensor(-0.2, dtype=torch.float64))

    def step(z):
        return z.round().clamp(0.2, 0.8)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0 * ONE, ONE))
            pyro.sample("x", dist.Bernoulli(step(z)), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(pyro.param("loc", loc), ONE).has_rsample_(False))

    z = torch.linspace(-9, 9, 400001, dtype=torch.float64)
    q, p = dist.Normal(loc, ONE).log_prob(z), dist.Normal(0 * ONE, ONE).log_prob(z)
    want = torch.autograd.grad((q.exp() * (p - q + torch.log1p(-step(z)))).sum() * (z[1] - z[0]), loc)[0]
    vae, x = pv.VAE(model, guide), torch.zeros(10_000, dtype=torch.float64)
    pyro.set_rng_seed(0)
    found = torch.stack([torch.autograd.grad(pv.objectives.ELBO()(vae, x).surrogate, loc)[0] for _ in range(20)])
    assert isinstance(pv.prepare(vae, x).estimators["z"], ScoreFunction)
    assert abs(float(found.mean() - want)) < 6 * float(found.std()) / 20**0.5
    with pytest.raises(CheckError, match="has_rsample_"):
        pv.prepare(pv.VAE(model, guide, estimators={"z": Pathwise()}), x)


def test_a_neural_baseline_knows_no_data_that_a_plate_draws_by_itself():
    def model(x):
        with pyro.plate("data", x.shape[0], subsample_size=2) as i:
            z = pyro.sample("z", dist.Normal(0 * ONE, ONE))
            pyro.sample("x", dist.Normal(z, ONE), obs=x[i])

    def guide(x):
        with pyro.plate("data", x.shape[0], subsample_size=2) as i:
            pyro.sample("z", dist.Normal(x[i] / 2, ONE))

    x = torch.tensor([0.1, -0.4, 0.9], dtype=torch.float64)
    pv.objectives.ELBO()(pv.VAE(model, guide, estimators={"z": ScoreFunction(DecayingAverage())}), x)
    with pytest.raises(CheckError, match="3 predictions of the neural baseline, expected 2"):
        pv.objectives.ELBO()(pv.VAE(model, guide, estimators={"z": ScoreFunction(Neural(hidden=2))}), x)


@pytest.mark.parametrize("coupled", [False, True], ids=["data apart", "data together"])
@pytest.mark.parametrize("particles", [1, 2])
@pytest.mark.parametrize("size", [1, 2])
def test_other_draws_are_an_unbiased_baseline(size, particles, coupled):
    """The gradient's mean over all draws is exact, also where each datum's cost holds a term of all draws."""
    logit = nn.Parameter(torch.tensor(0.4, dtype=torch.float64))

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Bernoulli(HALF))
            pyro.sample("x", dist.Normal(2 * z, ONE), obs=x)
        if coupled:
            pyro.sample("sum", dist.Normal(z.sum(-1), ONE), obs=2 * ONE)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Bernoulli(logits=pyro.param("logit", logit) * x))

    x = torch.tensor([0.5, 2.0], dtype=torch.float64)[:size]
    vae = pv.VAE(model, guide, estimators={"z": ScoreFunction()})
    exact, mean = torch.zeros((), dtype=torch.float64), 0.0
    for bits in itertools.product((0.0, 1.0), repeat=particles * size):
        z = torch.tensor(bits, dtype=torch.float64).reshape(particles, size)
        log_q = dist.Bernoulli(logits=logit * x).log_prob(z)
        log_p = HALF.log() + dist.Normal(2 * z, ONE).log_prob(x)
        whole = (log_p - log_q).sum(-1) + (dist.Normal(z.sum(-1), ONE).log_prob(2 * ONE) if coupled else 0.0)
        probability = log_q.sum().exp()
        exact = exact + probability * whole.mean() / size
        surrogate = pv.objectives.ELBO(particles).of(pv.terms(vae, x, particles, values={"z": z})).surrogate
        mean = mean + probability.detach() * torch.autograd.grad(surrogate, logit)[0]
    torch.testing.assert_close(mean, torch.autograd.grad(exact, logit)[0])


def test_by_itself_the_score_function_has_a_baseline():
    """One datum of many, whose costs are near 100: the score alone varies 100 times as much."""
    x = torch.full((64,), 14.0, dtype=torch.float64)
    coins, spread = Coins(), []
    for estimator in (ScoreFunction(None), ScoreFunction()):
        vae = pv.VAE(coins.model, coins.guide, estimators={"*": estimator})
        pyro.set_rng_seed(0)
        bounds = [pv.objectives.ELBO()(vae, x).surrogate for _ in range(200)]
        spread.append(torch.stack([torch.autograd.grad(b, coins.logits)[0] for b in bounds]).var(0).sum())
    assert spread[0] > 10 * spread[1]
