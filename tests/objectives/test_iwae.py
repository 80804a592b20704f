"""The importance-weighted bound: between the ELBO and the evidence."""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import CheckError
from ppl_vae.estimators import DoublyReparameterized, Enumerate, Pathwise, ScoreFunction, StickingTheLanding
from ppl_vae.objectives import CIWAE, ELBO, IWAE, MIWAE, PIWAE
from ppl_vae.objectives.iwae import grouped
from tests.objectives.pairs import F64, Coin, Gaussian, X, log_mean_exp, repeated
from tests.oracles import linear_gaussian, normal_hierarchy


def test_grows_with_particles_to_the_evidence() -> None:
    """From the ELBO up: 200 copies of the data make standard errors of 0.001, far below the steps."""
    pair = Gaussian()
    vae, x = pv.VAE(pair.model, pair.guide), repeated(200)
    with torch.no_grad():
        values = [float(IWAE(k)(vae, x).value) for k in (1, 2, 8, 64, 512)]
    assert all(a < b for a, b in itertools.pairwise(values))
    assert values[0] == pytest.approx(float(pair.expected(lambda log_w: log_w.mean(0), 1).detach()), abs=0.1)
    assert values[1] == pytest.approx(float(pair.expected(log_mean_exp, 2).detach()), abs=0.1)
    assert values[-1] == pytest.approx(float(pair.log_evidence().mean().detach()), abs=0.01)


@pytest.mark.parametrize("particles", [2, 5])
def test_agrees_with_pyro(particles: int) -> None:
    """Value and gradient, draw by draw, where no plate subsamples."""
    model, guide = linear_gaussian(orthogonal=True).pair(diagonal=True)
    with torch.no_grad():
        guide.offset += 0.3
    x = linear_gaussian(orthogonal=True).x
    params = [p for p in (*model.parameters(), *guide.parameters()) if p.requires_grad]
    pyro.set_rng_seed(0)
    bound = IWAE(particles)(pv.VAE(model, guide), x)
    ours = torch.autograd.grad(12 * bound.surrogate, params)
    pyro.set_rng_seed(0)
    theirs = RenyiELBO(alpha=0, num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
    assert float(12 * bound.value) == pytest.approx(-theirs.loss(model, guide, x), rel=1e-9)
    assert all(g.isfinite().all() for g in ours)


def test_a_plate_that_subsamples() -> None:
    """N/B multiplies the logarithm; Pyro's RenyiELBO puts it inside, and gives another number.

    200 data of which a batch holds 10, alike in pairs of batches, so that every batch has the same bound.
    """
    pair, x = Gaussian(), X.repeat(2)

    def program(inner: nn.Module):
        def run(x: torch.Tensor) -> None:
            with pyro.plate("data", 10 * len(x), subsample=torch.arange(len(x))):
                if inner is pair.model:
                    z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=F64), 1.0))
                    pyro.sample("x", dist.Normal(inner.p["w"] * z + inner.p["b"], inner.p["s"].exp()), obs=x)
                else:
                    pyro.sample("z", dist.Normal(inner.p["a"] * x + inner.p["c"], inner.p["r"].exp()))

        return run

    model, guide = program(pair.model), program(pair.guide)
    exact = float(pair.expected(log_mean_exp, 2).detach())
    with torch.no_grad():
        ours = torch.stack([IWAE(2)(pv.VAE(model, guide), x).value for _ in range(200)])
        theirs = RenyiELBO(alpha=0, num_particles=2, vectorize_particles=True, max_plate_nesting=1)
        their_values = torch.tensor([-theirs.loss(model, guide, x) / 60 for _ in range(50)])
    assert float(ours.mean()) == pytest.approx(exact, abs=5 * float(ours.std()) / 200**0.5)
    assert float(their_values.mean()) > exact + 0.1


def test_doubly_reparameterized_vanishes_at_the_posterior() -> None:
    oracle = linear_gaussian(orthogonal=True)
    model, guide = oracle.pair(diagonal=True)
    for estimator, still in ((DoublyReparameterized(), True), (Pathwise(), False)):
        vae = pv.VAE(model, guide, estimators={"*": estimator})
        g = torch.autograd.grad(IWAE(4)(vae, oracle.x).surrogate, [guide.offset, guide.log_diagonal])
        assert (max(float(d.abs().max()) for d in g) < 1e-13) == still


def test_doubly_reparameterized_with_one_particle_sticks_the_landing() -> None:
    pair, gradients = Gaussian(), []
    for estimator, objective in ((DoublyReparameterized(), IWAE(1)), (StickingTheLanding(), ELBO(1))):
        pyro.set_rng_seed(0)
        vae = pv.VAE(pair.model, pair.guide, estimators={"z": estimator})
        gradients.append(torch.autograd.grad(objective(vae, X).surrogate, list(pair.parameters().values())))
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("estimator", [Pathwise(), DoublyReparameterized()], ids=["pathwise", "doubly"])
def test_programs_may_share_parameters(estimator: Pathwise) -> None:
    """The guide scales its mean by the model's own w: its gradient is the sum of both parts.

    40 batches of 3 × 4,000 pairs of draws; the tolerance is 6 standard errors (a false alarm in 2 million).
    """
    pair = Gaussian()
    shared = pair.model.p["w"]
    pair.guide.p["a"] = shared
    exact = pair.gradients(pair.expected(log_mean_exp, 2))["w"]
    exact = float(torch.autograd.grad(pair.expected(log_mean_exp, 2), shared)[0])
    vae = pv.VAE(pair.model, pair.guide, estimators={"z": estimator})
    sample = torch.stack([torch.autograd.grad(IWAE(2)(vae, repeated(4000)).surrogate, shared)[0] for _ in range(40)])
    assert abs(float(sample.mean()) - exact) < 6 * float(sample.std()) / 40**0.5


def test_enumerated_sites_are_summed_out() -> None:
    """With every value of z in the weights nothing is left to draw: the bound is the evidence, with its gradient."""
    pair = Coin()
    bound = IWAE(3)(pv.VAE(pair.model, pair.guide, estimators={"z": Enumerate()}), X)
    exact = pair.log_evidence().mean()
    torch.testing.assert_close(bound.value, exact.detach())
    bound.surrogate.backward()
    found = {n: 0.0 if p.grad is None else float(p.grad) for n, p in pair.parameters().items()}
    assert found == pytest.approx(pair.gradients(exact), rel=1e-9, abs=1e-12)


def test_nested_bound_lies_between_elbo_and_evidence() -> None:
    """Global and local latents, a local guide that is too wide; 500 draws of w, standard errors of 0.02 nats."""
    oracle = normal_hierarchy()
    guide = oracle.guide()
    with torch.no_grad():
        guide.log_s += 0.7
    vae = pv.VAE(oracle.model, guide)
    with torch.no_grad():
        means = [
            torch.stack([objective(vae, oracle.x).value for _ in range(300)]).mean()
            for objective in (ELBO(1), IWAE(4), IWAE(32))
        ]
        half = torch.stack([IWAE(4)(vae, x, total=10).value for _ in range(150) for x in oracle.x.split(5)]).mean()
    assert means[0] < means[1] < means[2] < float(oracle.log_evidence()) / 10
    assert float(half) == pytest.approx(float(means[1]), abs=0.08)  # a minibatch estimates the same bound


@pytest.mark.parametrize("what", ["another estimator", "global latents"])
def test_doubly_reparameterized_needs_every_site(what: str) -> None:
    oracle = normal_hierarchy()
    estimators = {"z": DoublyReparameterized()} | ({"w": DoublyReparameterized()} if what == "global latents" else {})
    vae = pv.VAE(oracle.model, oracle.guide(), estimators=estimators)
    with pytest.raises(CheckError, match=what):
        IWAE(2)(vae, oracle.x)


def run(objective: nn.Module) -> tuple[float, dict[str, float]]:
    pair = Gaussian()
    pyro.set_rng_seed(0)
    bound = objective(pv.VAE(pair.model, pair.guide), X)
    bound.surrogate.backward()
    return float(bound.value), {n: float(p.grad) for n, p in pair.parameters().items()}


LIMITS = {
    "miwae, one group": (MIWAE(6, 1), IWAE(6)),
    "miwae, groups of one": (MIWAE(6, 6), ELBO(6, kl="sampled")),
    "ciwae, beta 0": (CIWAE(6, 0.0), IWAE(6)),
    "ciwae, beta 1": (CIWAE(6, 1.0), ELBO(6, kl="sampled")),
    "piwae, one group": (PIWAE(6, 1), IWAE(6)),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name: str) -> None:
    """Value and gradient, draw by draw."""
    ours, theirs = (run(objective) for objective in LIMITS[name])
    assert ours[0] == pytest.approx(theirs[0], rel=1e-12)
    assert ours[1] == pytest.approx(theirs[1], rel=1e-9)


def test_groups_are_means_of_bounds() -> None:
    log_w = torch.randn(6, 4, dtype=torch.float64)
    want = (log_mean_exp(log_w[:2]) + log_mean_exp(log_w[2:4]) + log_mean_exp(log_w[4:])) / 3
    torch.testing.assert_close(grouped(log_w, 3), want)


def test_order() -> None:
    """ELBO ≤ MIWAE ≤ IWAE, and CIWAE half-way, for the same draws."""
    elbo, miwae, iwae, ciwae = (run(o)[0] for o in (ELBO(12, kl="sampled"), MIWAE(12, 4), IWAE(12), CIWAE(12, 0.5)))
    assert elbo < miwae < iwae
    assert ciwae == pytest.approx((elbo + iwae) / 2, rel=1e-9)


def test_piwae_gives_each_program_its_own_bound() -> None:
    """The model's gradient is that of IWAE, the guide's that of MIWAE, from the same draws; the value is IWAE's."""
    value, found = run(PIWAE(12, 4))
    tight, loose = run(IWAE(12)), run(MIWAE(12, 4))
    assert value == pytest.approx(tight[0], rel=1e-12)
    for name in ("w", "b", "s"):
        assert found[name] == pytest.approx(tight[1][name], rel=1e-9)
    for name in ("a", "c", "r"):
        assert found[name] == pytest.approx(loose[1][name], rel=1e-9)


def test_piwae_with_shared_parameters_gives_the_sum() -> None:
    """A parameter of both programs gets the model's part of one bound and the guide's of the other."""
    _, apart = run_with_equal_numbers()
    pair = Gaussian()
    pair.guide.p["a"] = pair.model.p["w"]
    pyro.set_rng_seed(0)
    PIWAE(12, 4)(pv.VAE(pair.model, pair.guide), X).surrogate.backward()
    assert float(pair.model.p["w"].grad) == pytest.approx(apart["w"] + apart["a"], rel=1e-9)


def run_with_equal_numbers() -> tuple[float, dict[str, float]]:
    pair = Gaussian()
    pair.guide.p["a"] = nn.Parameter(pair.model.p["w"].detach().clone())
    pyro.set_rng_seed(0)
    bound = PIWAE(12, 4)(pv.VAE(pair.model, pair.guide), X)
    bound.surrogate.backward()
    return float(bound.value), {n: float(p.grad) for n, p in pair.parameters().items()}


@pytest.mark.parametrize("objective", [MIWAE(4, 2), CIWAE(3, 0.5)], ids=["miwae", "ciwae"])
def test_means_of_bounds_sum_out_enumerated_sites(objective: nn.Module) -> None:
    pair = Coin()
    value = objective(pv.VAE(pair.model, pair.guide, estimators={"z": Enumerate()}), X).value
    assert float(value) == pytest.approx(float(pair.log_evidence().mean().detach()))


@pytest.mark.parametrize("make", [lambda: MIWAE(5, 2), lambda: PIWAE(4, 3), lambda: CIWAE(2, 1.5), lambda: MIWAE(0, 1)])
def test_nonsense_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()  # type: ignore[operator]


def test_piwae_without_a_path() -> None:
    """Drawn by the score function, no latent carries a gradient to the guide."""
    pair = Coin()
    vae = pv.VAE(pair.model, pair.guide, estimators={"z": ScoreFunction()})
    surrogate = PIWAE(4, 2)(vae, X).surrogate
    assert all(g.isfinite().all() for g in torch.autograd.grad(surrogate, list(vae.parameters()), allow_unused=False))
