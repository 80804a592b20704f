"""The gradient of every legal estimator under every objective, against exact ones.

Sample size: 24 batches of 3 × 4,000 draws per datum and particle. A component fails beyond 6 standard errors (of the
24 batch means): Student's t with 23 degrees of freedom has that false-alarm rate at 4e-6, so that the chance of one
false alarm in the 450 comparisons of this file is below 2e-3. Seeds are fixed.
"""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import ppl_vae as pv
from ppl_vae import estimators as e
from ppl_vae import objectives as o
from tests.objectives.pairs import Coin, Gaussian, Pair, log_mean_exp, repeated

BATCHES, COPIES, ERRORS = 24, 4000, 6.0


def mean(log_w: Tensor) -> Tensor:
    return log_w.mean(0)


def renyi(alpha: float) -> Callable[[Tensor], Tensor]:
    return lambda log_w: log_mean_exp((1 - alpha) * log_w) / (1 - alpha)


def mixed(log_w: Tensor) -> Tensor:
    return 0.3 * mean(log_w) + 0.7 * log_mean_exp(log_w)


# Objective, and its bound of two particles for the model and for the guide.
OBJECTIVES = {
    "elbo": (lambda: o.ELBO(2), mean, mean),
    "iwae": (lambda: o.IWAE(2), log_mean_exp, log_mean_exp),
    "renyi 0.5": (lambda: o.Renyi(0.5, 2), renyi(0.5), renyi(0.5)),
    "renyi 2": (lambda: o.Renyi(2.0, 2), renyi(2.0), renyi(2.0)),
    "renyi -1": (lambda: o.Renyi(-1.0, 2), renyi(-1.0), renyi(-1.0)),
    "miwae": (lambda: o.MIWAE(2, 2), mean, mean),
    "ciwae": (lambda: o.CIWAE(2, 0.3), mixed, mixed),
    "piwae": (lambda: o.PIWAE(2, 2), log_mean_exp, mean),
}
ESTIMATORS = {
    "pathwise": e.Pathwise,
    "antithetic": lambda: e.Pathwise(antithetic=True),
    "sticking the landing": e.StickingTheLanding,
    "doubly reparameterized": e.DoublyReparameterized,
    "score": lambda: e.ScoreFunction(None),
    "score, others": e.ScoreFunction,
    "score, average": lambda: e.ScoreFunction(e.DecayingAverage()),
    "score, leave one out": lambda: e.ScoreFunction(e.LeaveOneOut()),
    "enumerate": e.Enumerate,
}
GAUSSIAN = [
    *[(name, "pathwise") for name in OBJECTIVES],
    *[(name, "score") for name in OBJECTIVES],
    *[(name, "score, leave one out") for name in OBJECTIVES],
    *[(name, "score, others") for name in OBJECTIVES],
    ("elbo", "antithetic"),  # each draw has the right law; bounds of several draws take them as independent
    ("elbo", "sticking the landing"),
    ("elbo", "score, average"),
    ("iwae", "doubly reparameterized"),
    ("iwae", "score, average"),
]
COIN = [(name, estimator) for name in OBJECTIVES for estimator in ("score", "score, leave one out")]


def assert_unbiased(
    pair: Pair, objective: torch.nn.Module, estimator: object, exact: dict[str, float], strategy: str | None = None
) -> None:
    vae = pv.VAE(pair.model, pair.guide, estimators={"z": estimator})
    if strategy is not None:
        pv.prepare(vae, (repeated(COPIES),), 2)
        vae.prepared = {key: dataclasses.replace(known, strategy=strategy) for key, known in vae.prepared.items()}
    x, names = repeated(COPIES), list(exact)
    params = [pair.parameters()[n] for n in names]
    found = []
    for _ in range(BATCHES):
        g = torch.autograd.grad(objective(vae, x).surrogate, params, allow_unused=True)
        found.append(torch.stack([torch.zeros_like(p) if d is None else d for p, d in zip(params, g, strict=True)]))
    sample = torch.stack(found)
    error = sample.std(0) / math.sqrt(BATCHES)
    want = torch.tensor([exact[n] for n in names], dtype=sample.dtype)
    off = (sample.mean(0) - want).abs() / (error + 1e-9)
    assert bool((off < ERRORS).all()), {
        n: f"{m:.5f} for {w:.5f}, {z:.1f} standard errors"
        for n, m, w, z in zip(names, sample.mean(0), want, off, strict=True)
    }


def exact_gradients(pair: Pair, for_model: Callable, for_guide: Callable) -> dict[str, float]:
    tight = pair.gradients(pair.expected(for_model, 2))
    loose = pair.gradients(pair.expected(for_guide, 2))
    return {n: (tight if n in pair.model.p else loose)[n] for n in pair.parameters()}


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "estimator"), GAUSSIAN, ids=[" / ".join(c) for c in GAUSSIAN])
def test_gaussian(objective: str, estimator: str) -> None:
    make, for_model, for_guide = OBJECTIVES[objective]
    pair = Gaussian()
    assert_unbiased(pair, make(), ESTIMATORS[estimator](), exact_gradients(pair, for_model, for_guide))


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "estimator"), COIN, ids=[" / ".join(c) for c in COIN])
def test_discrete(objective: str, estimator: str) -> None:
    make, for_model, for_guide = OBJECTIVES[objective]
    pair = Coin()
    assert_unbiased(pair, make(), ESTIMATORS[estimator](), exact_gradients(pair, for_model, for_guide))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["plate", "tile", "loop"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_however_particles_are_drawn(objective: str, strategy: str) -> None:
    make, for_model, for_guide = OBJECTIVES[objective]
    pair = Gaussian()
    assert_unbiased(pair, make(), e.Pathwise(), exact_gradients(pair, for_model, for_guide), strategy)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["tile", "loop"])
def test_doubly_reparameterized_however_particles_are_drawn(strategy: str) -> None:
    pair = Gaussian()
    exact = exact_gradients(pair, log_mean_exp, log_mean_exp)
    assert_unbiased(pair, o.IWAE(2), e.DoublyReparameterized(), exact, strategy)
