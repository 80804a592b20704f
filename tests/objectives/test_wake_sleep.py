"""Reweighted wake-sleep: exact expectations by quadrature, Pyro's surrogate, and what dreams need."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import ReweightedWakeSleep
from torch import Tensor, nn

import ppl_vae as pv
from ppl_vae.errors import CheckError
from ppl_vae.estimators import Enumerate
from ppl_vae.objectives import IWAE, WakeSleep
from ppl_vae.objectives.wake_sleep import ancestral_sample
from tests.objectives.pairs import F64, Coin, Gaussian, Pair, X, repeated

BATCHES, COPIES = 30, 4000  # as in test_unbiased: 6 standard errors, a false alarm in 600,000 comparisons


def sampled(pair: Pair, objective: nn.Module, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    vae = pv.VAE(pair.model, pair.guide)
    params = [pair.parameters()[n] for n in names]
    sample = []
    for _ in range(BATCHES):
        found = torch.autograd.grad(objective(vae, repeated(COPIES)).surrogate, params)
        sample.append(torch.stack(found))
    stacked = torch.stack(sample)
    return stacked.mean(0), stacked.std(0) / math.sqrt(BATCHES)


def wake(pair: Pair, particles: int = 2) -> dict[str, float]:
    """E Σₖ w̃ₖ ∇ log p and E Σₖ w̃ₖ ∇ log q, with draws that are constants."""
    z, weight = pair.draws(particles)
    z, weight, x = z.detach(), weight.detach(), X[:, None]
    log_p, log_q = pair.log_p(z, x), pair.log_q(z, x)
    normalized = torch.softmax((log_p - log_q).detach(), 0)
    return pair.gradients(((normalized * (log_p + log_q)).sum(0) * weight).sum(-1).mean())


def sleep(pair: Pair) -> dict[str, float]:
    """E_{p(x, z)} ∇φ log q(z | x) by quadrature."""
    points, weights = (torch.tensor(a, dtype=F64) for a in np.polynomial.hermite_e.hermegauss(60))
    weights = (weights / weights.sum())[None]
    m = {n: p.detach() for n, p in pair.model.p.items()}
    if isinstance(pair, Coin):
        z = torch.tensor([[0.0], [1.0]], dtype=F64)
        prior = torch.stack([1 - torch.sigmoid(m["t"]), torch.sigmoid(m["t"])])[:, None]
        x = m["u"] * z + points
    else:
        z, prior = points[:, None], weights.mT
        x = m["w"] * z + m["b"] + m["s"].exp() * points
    return pair.gradients((prior * weights * pair.log_q(z, x)).sum())


@pytest.mark.parametrize("pair", [Gaussian(), Coin()], ids=["gaussian", "discrete"])
@pytest.mark.parametrize("insomnia", [1.0, 0.0, 0.25])
def test_gradient(pair: Pair, insomnia: float) -> None:
    names = tuple(pair.parameters())
    awake, asleep = wake(pair), sleep(pair)
    exact = [awake[n] if n in pair.model.p else insomnia * awake[n] + (1 - insomnia) * asleep[n] for n in names]
    mean, error = sampled(pair, WakeSleep(2, insomnia), names)
    off = (mean - torch.tensor(exact, dtype=F64)).abs() / error
    assert bool((off < 6).all()), dict(zip(names, off.tolist(), strict=True))


def test_the_model_climbs_the_importance_weighted_bound() -> None:
    """Same draws, same value, and the same gradient of the model as IWAE's (whose draws depend on the guide alone)."""
    pair, found = Gaussian(), []
    for objective in (IWAE(5), WakeSleep(5)):
        pyro.set_rng_seed(0)
        bound = objective(pv.VAE(pair.model, pair.guide), X)
        found.append((bound.value, *torch.autograd.grad(bound.surrogate, list(pair.model.p.values()))))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("datum", [0, 1, 2])
def test_agrees_with_pyro(datum: int) -> None:
    """Wake-θ and wake-φ on one datum, draw by draw; of several, Pyro weights a particle by all of them jointly."""
    pair, x = Gaussian(), X[datum : datum + 1]
    theirs = ReweightedWakeSleep(num_particles=4, insomnia=1.0, vectorize_particles=True, max_plate_nesting=1)
    pyro.set_rng_seed(0)
    bound = WakeSleep(4)(pv.VAE(pair.model, pair.guide), x)
    params = list(pair.parameters().values())
    ours = torch.autograd.grad(bound.surrogate, params)

    def owned(program: nn.Module, name: str):
        def run(x: Tensor) -> None:
            pyro.module(name, program)
            program(x)

        return run

    with pyro.get_param_store().scope():
        pyro.set_rng_seed(0)
        theirs.loss_and_grads(owned(pair.model, "model"), owned(pair.guide, "guide"), x)
    got = [p.grad for p in params]
    torch.testing.assert_close([-g for g in got], list(ours))


def test_shared_parameters_get_both_parts() -> None:
    pair, apart = Gaussian(), Gaussian()
    pair.guide.p["a"] = pair.model.p["w"]
    apart.guide.p["a"] = nn.Parameter(apart.model.p["w"].detach().clone())
    for one in (pair, apart):
        pyro.set_rng_seed(0)
        WakeSleep(3, 0.5)(pv.VAE(one.model, one.guide), X).surrogate.backward()
    together = float(pair.model.p["w"].grad)
    assert together == pytest.approx(float(apart.model.p["w"].grad) + float(apart.guide.p["a"].grad), rel=1e-9)


# --- dreams


def vae_of(model: object, guide: object = None) -> pv.VAE:
    def default(*batch: Tensor) -> None:
        with pyro.plate("data", batch[0].shape[0]):
            pyro.sample("z", dist.Normal(batch[0].reshape(len(batch[0]), -1).mean(1), 1.0))

    return pv.VAE(model, guide or default)  # type: ignore[arg-type]


def flat(x: Tensor, y: Tensor, c: float) -> None:
    """Images flattened, labels in a type of their own, and an argument that is no tensor."""
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pyro.sample("x", dist.Normal(z[..., None].expand(*z.shape, 6), 1.0).to_event(1), obs=x.reshape(len(x), 6))
        pyro.sample("y", dist.Bernoulli(logits=z), obs=y.float())


def test_dreams_take_the_places_of_the_data() -> None:
    x, y = torch.zeros(5, 2, 3), torch.tensor([0, 1, 1, 0, 1])
    vae = vae_of(flat)
    pv.prepare(vae, (x, y, 0.5))
    latents, dream = ancestral_sample(vae, (x, y, 0.5))
    assert latents.keys() == {"z"}
    assert dream[0].shape == x.shape
    assert not torch.equal(dream[0], x)
    assert dream[1].dtype == y.dtype
    assert set(dream[1].tolist()) <= {0, 1}
    assert dream[2] == 0.5
    assert bool(WakeSleep(2, 0.5)(vae, (x, y, 0.5)).value.isfinite())


def part(x: Tensor) -> None:
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])


def twice(x: Tensor) -> None:
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        for name in ("x", "again"):
            pyro.sample(name, dist.Normal(z[..., None].expand(*z.shape, 2), 1.0).to_event(1), obs=x)


def weighted(x: Tensor) -> None:
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pyro.factor("f", -z.abs())
        pyro.sample("x", dist.Normal(z[..., None].expand(*z.shape, 2), 1.0).to_event(1), obs=x)


def improper(x: Tensor) -> None:
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.ImproperUniform(dist.constraints.real, (), ()))
        pyro.sample("x", dist.Normal(z[..., None].expand(*z.shape, 2), 1.0).to_event(1), obs=x)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (part, "none of the batch's"),
        (twice, "the same argument"),
        (weighted, "pyro.factor"),
        (improper, "cannot be drawn from"),
    ],
)
def test_dreams_that_cannot_be_fed_back_are_refused(model: object, why: str) -> None:
    vae, x = vae_of(model), torch.randn(4, 2)
    assert bool(WakeSleep(2)(vae, x).value.isfinite())  # the wake phases need no dreams
    with pytest.raises(CheckError, match=why) as error:
        WakeSleep(2, insomnia=0.5)(vae, x)
    assert "insomnia=1" in str(error.value)


def test_discrete_sites_are_drawn() -> None:
    """What is enumerated by default is drawn here, and enumerated again by others; asked for, it is refused."""
    pair = Coin()
    vae = pv.VAE(pair.model, pair.guide)
    assert WakeSleep(2, insomnia=0.5)(vae, X).value.isfinite()
    torch.testing.assert_close(IWAE(2)(vae, X).value, pair.log_evidence().mean().detach())
    with pytest.raises(CheckError, match="ScoreFunction"):
        WakeSleep(2)(pv.VAE(pair.model, pair.guide, estimators={"z": Enumerate()}), X)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="insomnia"):
        WakeSleep(2, insomnia=1.5)
