"""The derived guide against exact posteriors: closed forms, and quadrature where a support moves."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch.distributions import MultivariateNormal

import ppl_vae as pv
from ppl_vae.errors import PplVaeError
from ppl_vae.guides import Derived


def log_weights(model, guide, x, particles, depth=1):
    """log p(x, z) - log q(z) of each particle, summed over data."""
    with torch.no_grad(), pyro.plate("particles", particles, dim=-1 - depth):
        q = poutine.trace(guide).get_trace(x)
        p = poutine.trace(poutine.replay(model, q)).get_trace(x)
        p.compute_log_prob()
        q.compute_log_prob()
    sites = [n["log_prob"] for n in p.nodes.values() if n["type"] == "sample" and n["name"] != "particles"]
    minus = [n["log_prob"] for n in q.nodes.values() if n["type"] == "sample" and n["name"] != "particles"]

    def total(terms):
        return sum(t.reshape(particles, -1).sum(-1) for t in terms if t.ndim)

    return total(sites) - total(minus)


def trained(model, guide, x, steps=500, particles=32, lr=0.05):
    guide(x)
    stl = pv.estimators.StickingTheLanding()
    vae = pv.VAE(model, guide, estimators={site.name: stl for site in guide.prototype.sites})
    objective = pv.objectives.ELBO(kl="sampled", num_particles=particles)
    pv.prepare(vae, (x,))
    optimizer = torch.optim.Adam(vae.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (-objective(vae, (x,), total=len(x)).surrogate).backward()
        optimizer.step()
        schedule.step()
    return guide


N, NOISE = 8, 2.0


def shared_mean(x):
    w = pyro.sample("w", dist.Normal(0.0, 1.0))
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(w, 1.0))
        pyro.sample("x", dist.Normal(z, NOISE), obs=x)


@pytest.mark.slow
@pytest.mark.parametrize("condition", [True, False])
def test_local_latents_see_global_ones(condition):
    """The posterior is in the family if z sees w; else the gap is that of a mean field, ½ (Σ log Λ_ii - log |Λ|).

    4,000 particles; 5 standard errors, false-alarm rate below 1e-6.
    """
    pyro.set_rng_seed(0)
    x = torch.randn(N) * 2
    covariance = torch.full((N, N), 1.0) + (1 + NOISE**2) * torch.eye(N)
    evidence = MultivariateNormal(torch.zeros(N), covariance).log_prob(x)
    guide = trained(shared_mean, Derived(shared_mean, hidden=[], head_hidden=[], condition=condition), x)
    gaps = evidence - log_weights(shared_mean, guide, x, 4000)
    error = 5 * float(gaps.std()) / math.sqrt(4000)
    if condition:
        assert float(gaps.mean()) < 0.01 + error
        assert float(gaps.std()) < 0.1
    else:
        local = 1 + 1 / NOISE**2
        expected = 0.5 * (math.log(1 + N) - math.log(1 + N - N / local))
        assert expected > 0.6
        assert float(gaps.mean()) == pytest.approx(expected, abs=0.02 + error)


def test_what_a_local_latent_sees_of_global_ones_has_the_shape_of_particles():
    def model(x):
        with pyro.plate("components", 3, dim=-1):
            a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        k = pyro.sample("k", dist.Categorical(torch.ones(4)))
        with pyro.plate("rows", x.shape[0], dim=-2):
            z = pyro.sample("z", dist.Normal(a.sum() + k, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    x = torch.randn(5, 1)
    guide = Derived(model, hidden=[7])
    guide(x)
    assert guide.heads["z"].net[0].in_features == 7 + 3 * 2 + 4
    with pyro.plate("particles", 6, dim=-3):
        q = poutine.trace(guide).get_trace(x)
    z, a, k = (q.nodes[n]["value"] for n in "zak")
    assert z.shape == (6, 5, 1)
    h = torch.cat(
        [
            guide.encoder(x).expand(6, 5, 7),
            a.reshape(6, 1, 6).expand(6, 5, 6),
            torch.nn.functional.one_hot(k.reshape(6, 1), 4).expand(6, 5, 4),
        ],
        -1,
    )
    raw = guide.heads["z"].net(h)
    expected = guide.heads["z"].loc + guide.heads["z"].scale * raw[..., :1]
    torch.testing.assert_close(q.nodes["z"]["fn"].mean, expected)


LOADINGS = torch.tensor([[1.0, 0.9], [0.9, -0.2], [0.5, 0.8]])


def rotated(x):
    """PPCA with loadings that are not orthogonal: the posterior of z is one correlated normal, moved by x."""
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z @ LOADINGS.T, 0.5).to_event(1), obs=x)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["diagonal", "full_rank", "flow"])
def test_correlated_posterior(family):
    """Full rank and an affine flow have no gap; a diagonal has ½ (Σ log Λ_ii - log |Λ|) per datum.

    64 data, 1,000 particles; 5 standard errors.
    """
    pyro.set_rng_seed(0)
    covariance = LOADINGS @ LOADINGS.T + 0.25 * torch.eye(3)
    x = MultivariateNormal(torch.zeros(3), covariance).sample((64,))
    evidence = MultivariateNormal(torch.zeros(3), covariance).log_prob(x).mean()
    guide = trained(rotated, Derived(rotated, hidden=[], head_hidden=[], family=family), x, steps=400, particles=8)
    gaps = evidence - log_weights(rotated, guide, x, 1000) / 64
    error = 5 * float(gaps.std()) / math.sqrt(1000)
    precision = torch.eye(2) + LOADINGS.T @ LOADINGS / 0.25
    expected = 0.5 * float(precision.diagonal().log().sum() - precision.logdet()) if family == "diagonal" else 0.0
    assert float(gaps.mean()) == pytest.approx(expected, abs=0.01 + error)
    assert expected > 0.05 or family != "diagonal"


@pytest.mark.parametrize("family", ["full_rank", "flow"])
@pytest.mark.parametrize("particles", [None, 4])
@pytest.mark.parametrize("place", ["local", "global", "plate"])
def test_vector_families_fit_every_shape_and_place(family, particles, place):
    priors = {
        "vector": lambda: dist.Normal(torch.zeros(3), 1.0).to_event(1),
        "matrix": lambda: dist.Gamma(torch.full((3, 2), 2.0), 1.0).to_event(2),
        "simplex": lambda: dist.Dirichlet(torch.ones(4)),
        "cholesky": lambda: dist.LKJCholesky(3, 1.0),
        "scalar": lambda: dist.Normal(0.0, 1.0),
        "count": lambda: dist.Poisson(3.0),
    }

    def model(x):
        data = pyro.plate("data", x.shape[0], dim=-1)
        other = pyro.plate("other", 2, dim=-2)

        def draw():
            for name, prior in priors.items():
                pyro.sample(name, prior())

        if place == "global":
            draw()
        with data:
            if place == "local":
                draw()
            elif place == "plate":
                with other:
                    draw()
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    x = torch.randn(5)
    guide = Derived(model, hidden=[6], family=family)
    guide(x)
    with pyro.plate("particles", particles or 1, dim=-3):
        q = poutine.trace(guide).get_trace(x)
        p = poutine.trace(poutine.replay(model, q)).get_trace(x)
    q.compute_log_prob()
    p.compute_log_prob()
    for name in priors:
        assert q.nodes[name]["fn"].event_shape == p.nodes[name]["fn"].event_shape
        assert p.nodes[name]["fn"].support.check(q.nodes[name]["value"]).all()
        assert q.nodes[name]["log_prob"].shape == p.nodes[name]["log_prob"].shape
        assert q.nodes[name]["log_prob"].isfinite().all()
    unlike = {"vector", "matrix", "simplex", "cholesky"}
    assert {n for n, h in guide.heads.items() if h.family.label == family} == unlike


def test_a_family_by_site():
    guide = Derived(rotated, family={"z": "full_rank"})
    guide(torch.zeros(4, 3))
    assert guide.heads["z"].family.label == "full_rank"
    with pytest.raises(PplVaeError, match=r"'y', expected one of 'z'"):
        Derived(rotated, family={"y": "full_rank"})(torch.zeros(4, 3))
    with pytest.raises(PplVaeError, match=r"'full_rank' for site 'w', which is diagonal of shape \(\)"):
        Derived(shared_mean, family={"w": "full_rank"})(torch.zeros(4))
    with pytest.raises(PplVaeError, match="full_rnk"):
        Derived(rotated, family="full_rnk")


SCALED = dist.transforms.AffineTransform(1.0, 5.0)
MOVING = {
    "bounds by datum": lambda x, w: dist.Uniform(torch.zeros(len(x)), 1 + x),
    "bounds by a latent": lambda x, w: dist.Uniform(-w, w + 0 * x),
    "a lower bound by a latent": lambda x, w: dist.Pareto(w, 3.0),
    "a scaled interval": lambda x, w: dist.TransformedDistribution(dist.Beta(2.0, 3.0), [SCALED]),
    "a scaled half-line": lambda x, w: dist.TransformedDistribution(
        dist.Gamma(2.0, 1.0), [dist.transforms.AffineTransform(x, -w)]
    ),
    "an exponential of an interval": lambda x, w: dist.TransformedDistribution(
        dist.Beta(2.0, 3.0), [dist.transforms.ExpTransform()]
    ),
    "a scaled sigmoid": lambda x, w: dist.TransformedDistribution(
        dist.Normal(0.0, 1.0), [dist.transforms.SigmoidTransform(), SCALED]
    ),
}


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("particles", [None, 3])
def test_supports_that_move_have_the_right_volume(name, particles):
    """A density over the support of the present run integrates to one, by the trapezoidal rule on 40,001 points."""

    def model(x):
        w = pyro.sample("w", dist.Gamma(4.0, 2.0))
        with pyro.plate("data", x.shape[0]):
            u = pyro.sample("u", MOVING[name](x, w))
            pyro.sample("x", dist.Normal(u, 1.0), obs=x)

    pyro.set_rng_seed(0)
    guide = Derived(model, hidden=[6])
    guide(torch.rand(4, dtype=torch.float64))
    x = torch.rand(3, dtype=torch.float64)
    with pyro.plate("particles", particles or 1, dim=-2):
        q = poutine.trace(guide).get_trace(x)
        p = poutine.trace(poutine.replay(model, q)).get_trace(x)
    p.compute_log_prob()
    fn, u = q.nodes["u"]["fn"], q.nodes["u"]["value"]
    assert p.nodes["u"]["log_prob"].isfinite().all()
    # Through the unconstrained space's own coordinate, so that tails take no points.
    low, high = _bounds(name, x, q.nodes["w"]["value"].to(x.dtype))
    t = torch.linspace(-18, 18, 40_001, dtype=torch.float64).reshape(-1, 1, 1)
    if high is None:
        value, volume = low + t.exp(), t.exp()
    elif low is None:
        value, volume = high - t.exp(), t.exp()
    else:
        value, volume = low + (high - low) * t.sigmoid(), (high - low) * t.sigmoid() * (-t).sigmoid()
    inside = value.expand(-1, *u.shape)
    mass = torch.trapezoid(fn.log_prob(inside).exp() * volume, t.flatten(), dim=0)
    torch.testing.assert_close(mass, torch.ones_like(mass), atol=2e-4, rtol=0)


def _bounds(name, x, w):
    zero = torch.zeros_like(x)
    return {
        "bounds by datum": (zero, 1 + x),
        "bounds by a latent": (-w, w + zero),
        "a lower bound by a latent": (w, None),
        "a scaled interval": (zero + 1, zero + 6),
        "a scaled half-line": (None, x),
        "an exponential of an interval": (zero + 1, zero + math.e),
        "a scaled sigmoid": (zero + 1, zero + 6),
    }[name]
