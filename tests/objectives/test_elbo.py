"""The ELBO against closed forms, and against Pyro's where Pyro's are right."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor

import ppl_vae as pv
from ppl_vae.errors import CheckError
from ppl_vae.estimators import Enumerate, StickingTheLanding
from ppl_vae.objectives import ELBO
from tests.objectives.pairs import Coin, Gaussian, X
from tests.oracles import CONJUGATE, LinearGaussian, linear_gaussian, normal_hierarchy

F64 = torch.float64


def off_posterior() -> tuple[LinearGaussian, torch.nn.Module, torch.nn.Module]:
    oracle = linear_gaussian(orthogonal=True)
    model, guide = oracle.pair(diagonal=True)
    with torch.no_grad():
        guide.offset += 0.3
        guide.log_diagonal += 0.2
    return oracle, model, guide


@pytest.mark.parametrize("kl", ["sampled", "analytic"])
def test_is_the_closed_form(kl: str) -> None:
    """20,000 draws for each of 12 data; the tolerance is 5 standard errors: a false alarm in 1.7 million."""
    oracle, model, guide = off_posterior()
    exact = oracle.elbo(guide.mean(oracle.x), guide.covariance).mean().detach()
    bound = ELBO(20_000, kl=kl)(pv.VAE(model, guide), oracle.x)
    t = pv.terms(pv.VAE(model, guide), oracle.x, 20_000)
    draws, kl_draws = t.log_weights.detach().mean(1), t.kl()["z"].detach().mean(1)
    assert abs(float(bound.value - exact)) < 5 * float(draws.std()) / math.sqrt(20_000)
    divergence = float(oracle.kl(guide.mean(oracle.x), guide.covariance).mean().detach())
    assert abs(float(bound.metrics["kl/z"]) - divergence) < 5 * float(kl_draws.std()) / math.sqrt(20_000)
    parts = bound.metrics["log_likelihood"] - bound.metrics["kl/z"]
    assert float(bound.metrics["elbo"]) == pytest.approx(float(parts), rel=1e-9), "the same draws"


@pytest.mark.parametrize("kl", ["sampled", "analytic"])
def test_gradient_is_the_closed_form(kl: str) -> None:
    """40 calls of 500 draws; the tolerance is 6 standard errors (Student's t, 39 degrees: 5e-7 a component)."""
    oracle, model, guide = off_posterior()
    mean = guide.mean(oracle.x)
    params = [guide.offset, guide.log_diagonal, model.bias, model.log_noise]
    model.weight.requires_grad_(False)
    free = linear_gaussian(orthogonal=True)
    exact_bound = LinearGaussian(free.weight, model.bias, 0.7, free.x).elbo(mean, guide.covariance).mean()
    exact = torch.autograd.grad(exact_bound, params[:3])
    vae, found = pv.VAE(model, guide), []
    for _ in range(40):
        g = torch.autograd.grad(ELBO(500, kl=kl)(vae, oracle.x).surrogate, params[:3])
        found.append(torch.cat([d.flatten() for d in g]))
    sample, want = torch.stack(found), torch.cat([d.flatten() for d in exact])
    assert bool(((sample.mean(0) - want).abs() < 6 * sample.std(0) / math.sqrt(40) + 1e-9).all())


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize(("kl", "theirs"), [("sampled", Trace_ELBO), ("analytic", TraceMeanField_ELBO)])
def test_agrees_with_pyro(particles: int, kl: str, theirs: type) -> None:
    """Value and gradient, draw by draw."""
    oracle, model, guide = off_posterior()
    params = [p for p in (*model.parameters(), *guide.parameters()) if p.requires_grad]
    pyro.set_rng_seed(0)
    bound = ELBO(particles, kl=kl)(pv.VAE(model, guide), oracle.x)
    ours = torch.autograd.grad(12 * bound.surrogate, params)
    pyro.set_rng_seed(0)
    elbo = theirs(num_particles=particles, vectorize_particles=particles > 1, max_plate_nesting=1)
    loss = elbo.differentiable_loss(model, guide, oracle.x)
    torch.testing.assert_close(12 * bound.value, -loss.detach())
    torch.testing.assert_close(list(ours), list(torch.autograd.grad(-loss, params)))


@pytest.mark.parametrize("name", CONJUGATE)
def test_global_latents_alone(name: str) -> None:
    """Exact posteriors of conjugate pairs: every draw gives log p(x)/N; without a plate over data, too."""
    oracle = CONJUGATE[name]()
    bound = ELBO(3, kl="sampled")(pv.VAE(oracle.model, oracle.guide()), oracle.x)
    assert float(bound.value) == pytest.approx(float(oracle.log_evidence) / len(oracle.x), rel=1e-9)


def test_minibatches_average_to_the_whole() -> None:
    """Of one draw of w at the exact posterior: (1/M) Σ over M minibatches of g + (N/B) Σᵢ lᵢ is log p(x)."""
    oracle = normal_hierarchy()
    vae, parts = pv.VAE(oracle.model, oracle.guide()), []
    for batch in oracle.x.split(2):
        pyro.set_rng_seed(0)
        parts.append(float(ELBO(2, kl="sampled")(vae, batch, total=10).value))
    assert sum(parts) / 5 == pytest.approx(float(oracle.log_evidence()) / 10, rel=1e-9)


def test_sticking_the_landing_has_no_variance_at_the_posterior() -> None:
    pair = linear_gaussian(orthogonal=True).pair(diagonal=True)
    for estimators, still in (({"z": StickingTheLanding()}, True), ({}, False)):
        model, guide = pair
        vae = pv.VAE(model, guide, estimators=estimators)
        surrogate = ELBO(2)(vae, linear_gaussian(orthogonal=True).x).surrogate
        g = torch.autograd.grad(surrogate, [guide.offset, guide.log_diagonal])
        largest = max(float(d.abs().max()) for d in g)
        assert (largest < 1e-13) == still


def test_enumeration_is_exact() -> None:
    pair = Coin()
    exact = pair.expected(lambda log_w: log_w.mean(0), 1)
    bound = ELBO()(pv.VAE(pair.model, pair.guide, estimators={"z": Enumerate()}), X)
    torch.testing.assert_close(bound.value, exact.detach())
    bound.surrogate.backward()
    found = {n: float(p.grad) for n, p in pair.parameters().items()}
    assert found == pytest.approx(pair.gradients(exact), rel=1e-9)


# --- weights


def test_beta_and_site_weights_are_scale_on_both_sides() -> None:
    oracle, model, guide = off_posterior()

    def scaled_model(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            with poutine.scale(scale=0.3):
                z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=F64), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ oracle.weight.mT + oracle.bias, oracle.noise).to_event(1), obs=x)

    values = []
    for objective, vae in (
        (ELBO(beta=0.3), pv.VAE(model, guide)),
        (ELBO(weights={"z": 0.3}), pv.VAE(model, guide)),
        (ELBO(beta=0.6, weights={"z": 0.5}), pv.VAE(model, guide)),
        (ELBO(), pv.VAE(scaled_model, poutine.scale(guide, scale=0.3))),
    ):
        for kl in ("sampled", "analytic"):
            objective.kl = kl
            pyro.set_rng_seed(0)
            bound = objective(vae, oracle.x)
            values.append((kl, float(bound.value), float(bound.metrics["elbo"]), float(bound.metrics["kl/z"])))
    for kl in ("sampled", "analytic"):
        first, *rest = [v[1:] for v in values if v[0] == kl]
        for other in rest:
            assert other == pytest.approx(first, rel=1e-7)  # β is kept in single precision


def test_weights_of_unknown_sites_raise() -> None:
    _, model, guide = off_posterior()
    with pytest.raises(CheckError, match=r"\['w'\].*\['z'\]"):
        ELBO(weights={"w": 2.0})(pv.VAE(model, guide), linear_gaussian().x)


# --- where Pyro's own value is another


def test_scale_in_the_model_only() -> None:
    """With s on log p(z) alone the bound is E[log p(x | z) + s log p(z) − log q(z)]; no KL stands for it.

    Pyro's mean-field ELBO takes KL(q ‖ p) all the same, as if there were no s.
    """
    oracle, _, guide = off_posterior()
    s = 0.3

    def model(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            with poutine.scale(scale=s):
                z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=F64), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ oracle.weight.mT + oracle.bias, oracle.noise).to_event(1), obs=x)

    mean, covariance = guide.mean(oracle.x).detach(), guide.covariance.detach()
    second = mean.square().sum(-1) + covariance.trace()
    log_prior = -0.5 * second - math.log(2 * math.pi)  # E_q log p(z), two dimensions
    exact = float((oracle.elbo(mean, covariance) - (1 - s) * log_prior).mean())
    for kl in ("sampled", "analytic"):
        value = float(ELBO(20_000, kl=kl)(pv.VAE(model, guide), oracle.x).value)
        assert value == pytest.approx(exact, abs=0.03)  # 0.005 is a standard error
    theirs = TraceMeanField_ELBO(num_particles=2000, vectorize_particles=True, max_plate_nesting=1)
    assert abs(-theirs.loss(model, guide, oracle.x) / 12 - exact) > 1.0


def test_delta_with_a_log_density() -> None:
    """A guide that carries a density in a Delta (as autoguides do) has no KL; its log-density must count.

    z ~ N(0, 1), x | z ~ N(z, 1); the guide draws e ~ N(0, 1), and z = 2e with density N(z; 0, 4).
    """
    x = torch.tensor([0.5, -1.0], dtype=F64)

    def model(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=F64), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            z = torch.randn(len(x), dtype=F64) * 2.0
            pyro.sample("z", dist.Delta(z, log_density=dist.Normal(z.new_zeros(()), 2.0).log_prob(z)))

    exact = float((-math.log(2 * math.pi) - 0.5 * (x**2 + 4) - 0.5 * 4 + 0.5 * (math.log(8 * math.pi) + 1)).mean())
    many = x.repeat(10_000)
    for kl in ("sampled", "analytic"):
        value = float(ELBO(kl=kl)(pv.VAE(model, guide), many).value)
        assert value == pytest.approx(exact, abs=0.15)  # the standard error is 0.03
    assert abs(-TraceMeanField_ELBO().loss(model, guide, many) / len(many) - exact) > 1.0


def test_analytic_kl_with_sticking_the_landing_raises() -> None:
    pair = Gaussian()
    with pytest.raises(CheckError, match="samples theirs"):
        ELBO(kl="analytic")(pv.VAE(pair.model, pair.guide, estimators={"z": StickingTheLanding()}), X)


def test_each_site_has_the_kl_that_its_estimator_allows() -> None:
    """By default: closed where the estimator leaves it so, sampled at a site that sticks to the landing."""
    oracle, model, guide = off_posterior()
    for estimators, kl in (({}, "analytic"), ({"z": StickingTheLanding()}, "sampled")):
        values = []
        for objective in (ELBO(2), ELBO(2, kl=kl)):
            pyro.set_rng_seed(0)
            values.append(objective(pv.VAE(model, guide, estimators=estimators), oracle.x).value)
        assert values[0] == values[1]


@pytest.mark.parametrize("settings", [{"num_particles": 0}, {"kl": "exact"}, {"beta": math.nan}])
def test_nonsense_is_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        ELBO(**settings)
