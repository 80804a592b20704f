"""What holds for every objective: particles, dtypes, minibatches, validation, schedules, checks, gradients."""

import functools
import itertools
import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppl_vae as pv
from ppl_vae import estimators as e
from ppl_vae import objectives as o
from ppl_vae import schedules
from ppl_vae.errors import CheckError
from tests.oracles import linear_gaussian, normal_hierarchy

Make = Callable[[int], nn.Module]
"""From a number of particles to an objective."""

OBJECTIVES: dict[str, Make] = {
    "elbo": lambda k: o.ELBO(k, kl="sampled"),
    "elbo, analytic": lambda k: o.ELBO(k, kl="analytic"),
    "beta": lambda k: o.ELBO(k, beta=0.5, weights={"z": 0.5}),
    "iwae": lambda k: o.IWAE(k),
    "renyi": lambda k: o.Renyi(0.5, k),
    "vr-max": lambda k: o.Renyi(-math.inf, k),
    "miwae": lambda k: o.MIWAE(k, 2 - k % 2),
    "piwae": lambda k: o.PIWAE(k, 2 - k % 2),
    "ciwae": lambda k: o.CIWAE(k, 0.5),
    "wake-sleep": lambda k: o.WakeSleep(k, insomnia=0.5),
    "tail-adaptive": lambda k: o.TailAdaptive(max(k, 2)),
    "beta-tcvae": lambda k: o.BetaTCVAE(3.0, num_particles=k),
    "factor-vae": lambda k: o.FactorVAE(3.0, latent_dim=2, hidden=(8,), num_particles=k),
    "dip I": lambda k: o.DIP("I", num_particles=k),
    "dip II": lambda k: o.DIP("II", num_particles=k),
    "info-vae": lambda k: o.InfoVAE(num_particles=k),
    "free bits": lambda k: o.FreeBits(0.3, num_particles=k),
    "free bits per site": lambda k: o.FreeBits(0.3, per="site", num_particles=k),
    "capacity": lambda k: o.Capacity(2.0, num_particles=k),
}
PLAIN = sorted(set(OBJECTIVES) - {"piwae", "wake-sleep", "tail-adaptive", "factor-vae"})
"""Objectives whose surrogate is the value itself under pathwise draws: finite differences see its gradient."""
NESTED = ("elbo", "iwae", "renyi", "miwae", "piwae", "ciwae")

every = pytest.mark.parametrize("name", OBJECTIVES)


def pair(dtype: torch.dtype = torch.float64, **settings: object) -> tuple[pv.VAE, Tensor]:
    oracle = linear_gaussian(orthogonal=True)
    model, guide = oracle.model(), oracle.guide(diagonal=True)
    with torch.no_grad():
        guide.offset += 0.3
        guide.log_diagonal -= 0.2
    if dtype is torch.float64:
        return pv.VAE(model, guide, **settings), oracle.x
    return pv.VAE(single_precision_model, single_precision_guide(), **settings), oracle.x.to(dtype)


def single_precision_model(x: Tensor) -> None:
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True) * torch.ones(5), 1.0).to_event(1), obs=x)


def single_precision_guide() -> nn.Module:
    class Guide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(5, 4)

        def forward(self, x: Tensor) -> None:
            loc, scale = self.net(x).chunk(2, -1)
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return Guide()


@every
@pytest.mark.parametrize("particles", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_gives_a_bound_and_gradients_for_all(name: str, particles: int, dtype: torch.dtype) -> None:
    vae, x = pair(dtype)
    objective = OBJECTIVES[name](particles)
    bound = objective(vae, x[:7], total=12)
    assert bound.value.shape == bound.surrogate.shape == ()
    assert bound.value.dtype == bound.surrogate.dtype == dtype
    assert not bound.value.requires_grad
    assert bound.surrogate.requires_grad
    assert {"elbo", "log_likelihood", "kl/z"} <= bound.metrics.keys()
    for value in bound.metrics.values():
        assert value.shape == ()
        assert not value.requires_grad
        assert bool(value.isfinite())
    (-bound.surrogate).backward()
    for owner in (vae, objective):
        for key, p in owner.named_parameters():
            assert not p.requires_grad or (p.grad is not None and bool(p.grad.isfinite().all())), key
            assert p.grad is None or p.grad.dtype == p.dtype


@every
def test_validates_without_gradients(name: str) -> None:
    """The value under `torch.no_grad` is that of training, in evaluation mode too."""
    vae, x = pair()
    objective = OBJECTIVES[name](4)
    pyro.set_rng_seed(1)
    training = objective(vae, x)
    vae.eval(), objective.eval()
    pyro.set_rng_seed(1)
    with torch.no_grad():
        validation = objective(vae, x)
    assert not validation.surrogate.requires_grad
    torch.testing.assert_close(validation.value, training.value)


@every
@pytest.mark.parametrize("particles", [1, 3])
def test_one_datum_is_a_batch(name: str, particles: int) -> None:
    """The last batch of an epoch may hold one datum."""
    vae, x = pair()
    bound = OBJECTIVES[name](particles)(vae, x[:1], total=12)
    assert bool(bound.value.isfinite())
    (-bound.surrogate).backward()


@every
def test_leaves_the_pair_as_it_was(name: str) -> None:
    vae, x = pair()
    before = {k: v.clone() for k, v in vae.state_dict().items()}
    OBJECTIVES[name](2)(vae, x)
    assert all(torch.equal(v, before[k]) for k, v in vae.state_dict().items())
    assert all(p.grad is None for p in vae.parameters())


@every
def test_is_a_module_that_says_what_it_is(name: str) -> None:
    objective = OBJECTIVES[name](2)
    assert isinstance(objective, nn.Module)
    assert objective.num_particles >= 1
    assert type(objective).__name__ in repr(objective)
    assert pv.citation(objective).count("@") >= 3  # this package, Pyro, and the paper


@pytest.mark.parametrize("name", PLAIN)
def test_gradient_is_that_of_the_value(name: str) -> None:
    """Central differences with common random numbers, in every parameter: error O(h²) = 1e-10, against 1e-6."""
    vae, x = pair()
    objective = OBJECTIVES[name](4)

    def value() -> float:
        pyro.set_rng_seed(2)
        with torch.no_grad():
            return float(objective(vae, x[:6], total=12).value)

    pyro.set_rng_seed(2)
    objective(vae, x[:6], total=12).surrogate.backward()
    h = 1e-5
    for key, p in vae.named_parameters():
        if not p.requires_grad:
            continue
        for index in list(itertools.product(*map(range, p.shape)))[:4]:
            p.data[index] += h
            above = value()
            p.data[index] -= 2 * h
            below = value()
            p.data[index] += h
            assert float(p.grad[index]) == pytest.approx((above - below) / (2 * h), rel=1e-5, abs=1e-6), (key, index)


@every
def test_total_changes_no_figure_per_datum(name: str) -> None:
    """With local latents only, N/B cancels: nats per datum of a batch do not depend on how large the data set is."""
    if name == "beta-tcvae":
        pytest.skip("q(z) is an average over the data set")
    vae, x = pair()
    objective = OBJECTIVES[name](4)
    values = []
    for total in (6, 600):
        pyro.set_rng_seed(3)
        values.append(objective(vae, x[:6], total=total))
    torch.testing.assert_close(values[0].value, values[1].value)
    torch.testing.assert_close(values[0].metrics, values[1].metrics)


SCHEDULED = {
    "elbo": lambda s: o.ELBO(beta=s),
    "renyi": lambda s: o.Renyi(alpha=s, num_particles=2),
    "ciwae": lambda s: o.CIWAE(2, beta=s),
    "wake-sleep": lambda s: o.WakeSleep(2, insomnia=s),
    "beta-tcvae": lambda s: o.BetaTCVAE(beta=s),
    "factor-vae": lambda s: o.FactorVAE(gamma=s, latent_dim=2, hidden=(4,)),
    "dip": lambda s: o.DIP(off_diagonal=s),
    "dip, diagonal": lambda s: o.DIP(diagonal=s),
    "info-vae": lambda s: o.InfoVAE(alpha=s),
    "free bits": lambda s: o.FreeBits(nats=s),
    "capacity": lambda s: o.Capacity(capacity=s),
    "capacity, gamma": lambda s: o.Capacity(gamma=s),
}


@pytest.mark.parametrize("name", SCHEDULED)
def test_schedules_advance(name: str) -> None:
    """A schedule half-way gives what the number half-way gives."""
    vae, x = pair()
    torch.manual_seed(0)
    scheduled = SCHEDULED[name](schedules.linear(0.0, 1.0, 10))
    o.advance(scheduled, step=5, epoch=0)
    torch.manual_seed(0)
    fixed = SCHEDULED[name](schedules.constant(0.5))
    surrogates = []
    for objective in (scheduled, fixed):
        pyro.set_rng_seed(4)
        surrogates.append(objective(vae, x).surrogate)
    torch.testing.assert_close(*surrogates)


PAIRED = {
    **SCHEDULED,
    "elbo, weighted": lambda s: o.ELBO(beta=s, weights={"z": 1 / 3}),
    "elbo, analytic": lambda s: o.ELBO(beta=s, kl="analytic"),
    "info-vae, lambda": lambda s: o.InfoVAE(alpha=s, lambda_=1 / 3),
    "dip II": lambda s: o.DIP("II", off_diagonal=s),
    "free bits per site": lambda s: o.FreeBits(s, per="site"),
}


@pytest.mark.parametrize("name", PAIRED)
def test_a_schedule_rounds_nothing_that_it_meets(name: str) -> None:
    """Its value is a float32; what is computed of it and a number, as 1 − β or β N/B, is as exact as the pair."""
    vae, x = pair()
    for value in (0.1, 0.25, 0.7):
        found = []
        for wide in (False, True):
            torch.manual_seed(0)
            schedule = schedules.linear(value, 1.0, 10)
            objective = PAIRED[name](schedule)
            if wide:
                schedule.double()
            pyro.set_rng_seed(4)
            bound = objective(vae, x[:7], total=12)
            (-bound.surrogate).backward()
            gradients = [p.grad for p in vae.parameters() if p.grad is not None]
            found.append([bound.value, bound.surrogate.detach(), *gradients])
            vae.zero_grad()
        torch.testing.assert_close(*found, rtol=1e-13, atol=1e-13)


# --- illegal combinations say what is legal

ILLEGAL = {
    "elbo": [e.DoublyReparameterized()],
    "elbo, analytic": [e.StickingTheLanding(), e.DoublyReparameterized()],
    "iwae": [e.StickingTheLanding()],
    "renyi": [e.StickingTheLanding(), e.DoublyReparameterized()],
    "miwae": [e.StickingTheLanding(), e.DoublyReparameterized()],
    "piwae": [e.StickingTheLanding(), e.DoublyReparameterized()],
    "ciwae": [e.StickingTheLanding(), e.DoublyReparameterized()],
    "wake-sleep": [e.StickingTheLanding(), e.DoublyReparameterized()],
    "tail-adaptive": [e.StickingTheLanding(), e.ScoreFunction()],
    "beta-tcvae": [e.ScoreFunction(), e.StickingTheLanding()],
    "factor-vae": [e.ScoreFunction()],
    "dip II": [e.ScoreFunction(), e.DoublyReparameterized()],
    "info-vae": [e.ScoreFunction(), e.DoublyReparameterized()],
    "free bits": [e.ScoreFunction(), e.StickingTheLanding()],
    "capacity": [e.ScoreFunction(), e.StickingTheLanding()],
}


@pytest.mark.parametrize(
    ("name", "estimator"),
    [(name, estimator) for name, group in ILLEGAL.items() for estimator in group],
    ids=lambda c: c if isinstance(c, str) else type(c).__name__,
)
def test_illegal_estimators_raise(name: str, estimator: object) -> None:
    vae, x = pair(estimators={"z": estimator})
    with pytest.raises(CheckError, match="Pathwise"):
        OBJECTIVES[name](2)(vae, x)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"elbo", "elbo, analytic", "beta", "free bits per site"}))
def test_a_joint_observation_has_no_bound_per_datum(name: str) -> None:
    """Without a plate over data only sums are defined."""
    if name in ("free bits", "capacity"):
        pytest.skip("of one joint observation they are defined")

    def model(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(), 1.0).expand(x.shape).to_event(x.dim()), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    with pytest.raises(CheckError, match="plate"):
        OBJECTIVES[name](2)(pv.VAE(model, guide), torch.zeros(3, 5))


# --- global latents


def hierarchy() -> tuple[pv.VAE, Tensor, float]:
    oracle = normal_hierarchy()
    return pv.VAE(oracle.model, oracle.guide()), oracle.x, float(oracle.log_evidence()) / len(oracle.x)


@pytest.mark.parametrize("name", NESTED)
def test_exact_guides_give_the_evidence(name: str) -> None:
    """At the exact posterior g + Σᵢ log p(xᵢ | w) is log p(x) for every draw, however they are averaged."""
    vae, x, evidence = hierarchy()
    assert float(OBJECTIVES[name](4)(vae, x).value) == pytest.approx(evidence, rel=1e-9)


@pytest.mark.parametrize("name", NESTED)
def test_minibatches_are_never_scaled_inside_the_logarithm(name: str) -> None:
    """For one draw of the global latent, bounds of the minibatches average to the bound of all data, to rounding.

    With N/B inside the logarithm they would not: the bound of a minibatch would stand above the evidence.
    """
    vae, x, evidence = hierarchy()
    parts = []
    for batch in x.split(2):
        pyro.set_rng_seed(5)  # the same w; the local draws do not matter at the exact q(z | w, x)
        parts.append(float(OBJECTIVES[name](4)(vae, batch, total=len(x)).value))
    assert sum(parts) / len(parts) == pytest.approx(evidence, rel=1e-9)


@pytest.mark.parametrize("name", ["wake-sleep", "tail-adaptive"])
def test_global_latents_are_refused_where_undefined(name: str) -> None:
    vae, x, _ = hierarchy()
    with pytest.raises(CheckError, match="ELBO, IWAE"):
        OBJECTIVES[name](2)(vae, x)


@pytest.mark.parametrize("name", ["beta-tcvae", "dip I", "dip II", "info-vae", "free bits per site", "free bits"])
def test_global_latents_beside_codes(name: str) -> None:
    """Objectives of codes look at the local site, and charge the global one as the ELBO does."""
    vae, x, _ = hierarchy()
    bound = OBJECTIVES[name](3)(vae, x[:4], total=len(x))
    bound.surrogate.backward()
    assert bool(bound.value.isfinite())
    assert all(p.grad is not None for p in vae.parameters())


# --- user scale and β weight the bound alone


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"factor-vae"}))
def test_scale_weights_the_bound_and_not_what_is_reported(name: str) -> None:
    oracle = linear_gaussian(orthogonal=True)
    model, guide = oracle.pair(diagonal=True)

    def scaled(program: nn.Module) -> Callable:
        return pyro.poutine.scale(program, scale=0.25)

    found = []
    for pair_ in (pv.VAE(model, guide), pv.VAE(scaled(model), scaled(guide))):
        pyro.set_rng_seed(6)
        found.append(OBJECTIVES[name](4)(pair_, oracle.x))
    plain, weighted = found
    for key in ("elbo", "log_likelihood", "kl/z"):
        torch.testing.assert_close(weighted.metrics[key], plain.metrics[key])
    if name in ("elbo", "elbo, analytic", "beta"):
        torch.testing.assert_close(weighted.value, 0.25 * plain.value)
    else:
        assert not torch.allclose(weighted.value, plain.value)


# --- capture


@pytest.mark.slow
@every
def test_steps_are_captured(name: str) -> None:
    """Training without Pyro gives the same weights, bit for bit."""
    weights, ran = [], []
    for mode in ("off", "export"):
        vae, x = pair()
        torch.manual_seed(0)
        objective, adam = OBJECTIVES[name](4), functools.partial(torch.optim.Adam, lr=0.01)
        history = pv.fit(
            vae, (x,), objective=objective, optimizer=adam, epochs=2, batch_size=6, compile=mode, progress=False
        )
        weights.append(vae.state_dict())
        ran.append(history.compiled)
    assert ran[1].startswith("export")
    assert all(torch.equal(a, weights[1][key]) for key, a in weights[0].items())


# --- labelled and unlabelled batches in turn


def semi_supervised(x: Tensor, y: Tensor | None = None) -> None:
    with pyro.plate("data", x.shape[0]):
        y = pyro.sample("y", dist.Categorical(logits=torch.zeros(3)), obs=y)
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z + y[..., None], 1.0).to_event(1), obs=x)


def semi_supervised_guide(x: Tensor, y: Tensor | None = None) -> None:
    a = pyro.param("a", torch.tensor(0.5))
    with pyro.plate("data", x.shape[0]):
        if y is None:
            pyro.sample("y", dist.Categorical(logits=a * x.sum(-1, keepdim=True) * torch.arange(3.0)))
        pyro.sample("z", dist.Normal(a * x, 1.0).to_event(1))


@pytest.mark.parametrize("estimator", [None, e.ScoreFunction(), e.ScoreFunction(e.LeaveOneOut())])
@pytest.mark.parametrize("name", ["elbo", "iwae", "renyi", "miwae", "piwae", "ciwae", "wake-sleep"])
def test_sites_may_be_observed_in_some_batches(name: str, estimator: object) -> None:
    if name == "piwae" and estimator is None:
        estimator = e.ScoreFunction()  # sums over discrete values are not parted
    vae = pv.VAE(semi_supervised, semi_supervised_guide, estimators={"y": estimator} if estimator else None)
    x, y = torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    objective = OBJECTIVES[name](4)
    for batch in ((x,), (x, y), (x[:3],), (x[:3], y[:3])):
        bound = objective(vae, batch, total=12)
        assert bool(bound.value.isfinite())
        assert ("kl/y" in bound.metrics) == (len(batch) == 1)
        (g,) = torch.autograd.grad(bound.surrogate, list(vae.parameters()))
        assert bool(g.isfinite())
