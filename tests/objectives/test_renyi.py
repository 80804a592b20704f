"""Rényi's bound: its limits, its order, and Pyro's value."""

import math

import pyro
import pytest
import torch
from pyro.infer import RenyiELBO

import ppl_vae as pv
from ppl_vae.estimators import Enumerate
from ppl_vae.objectives import ELBO, IWAE, Renyi
from ppl_vae.objectives.iwae import renyi
from tests.objectives.pairs import Coin, Gaussian, X
from tests.oracles import linear_gaussian


def value(objective: torch.nn.Module, seed: int = 0) -> float:
    pair = Gaussian()
    pyro.set_rng_seed(seed)
    return float(objective(pv.VAE(pair.model, pair.guide), X).value)


def test_limits() -> None:
    """α = 1 is the ELBO and α = 0 the importance-weighted bound, draw by draw."""
    assert value(Renyi(1.0, 5)) == pytest.approx(value(ELBO(5, kl="sampled")), rel=1e-12)
    assert value(Renyi(0.0, 5)) == pytest.approx(value(IWAE(5)), rel=1e-12)
    assert value(Renyi(1.0, 1)) == pytest.approx(value(Renyi(-math.inf, 1)), rel=1e-12)


def test_falls_as_alpha_grows() -> None:
    orders = [-math.inf, -20.0, -1.0, 0.0, 0.5, 0.999, 1.0, 1.001, 3.0, 30.0, math.inf]
    values = [value(Renyi(a, 5)) for a in orders]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_smooth_where_alpha_is_near_one(dtype: torch.dtype) -> None:
    """1 − α = 1e-7 … 1e-3 and log-weights of −10,000: no cancellation."""
    log_w = torch.tensor([[-10000.0], [-10001.0], [-10003.0]], dtype=dtype)
    mean, variance = float(log_w.double().mean()), float(log_w.double().var(correction=0))
    for gap in (1e-7, 1e-5, 1e-3):
        got = float(renyi(log_w, 1 - gap))
        assert got == pytest.approx(mean + gap * variance / 2, abs=2e-3 if dtype is torch.float32 else 1e-6)


@pytest.mark.parametrize("alpha", [-1.0, 0.5, 2.0])
def test_agrees_with_pyro(alpha: float) -> None:
    model, guide = linear_gaussian(orthogonal=True).pair(diagonal=True)
    with torch.no_grad():
        guide.offset += 0.3
    x = linear_gaussian(orthogonal=True).x
    pyro.set_rng_seed(0)
    ours = float(Renyi(alpha, 4)(pv.VAE(model, guide), x).value)
    pyro.set_rng_seed(0)
    theirs = RenyiELBO(alpha=alpha, num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    assert 12 * ours == pytest.approx(-theirs.loss(model, guide, x), rel=1e-9)


def test_many_particles_give_the_closed_form() -> None:
    """log p(x) − D_α(q ‖ p(z | x)), 20,000 draws for each of 12 data: a standard error is below 0.003."""
    oracle = linear_gaussian(orthogonal=True)
    model, guide = oracle.pair(diagonal=True)
    with torch.no_grad():
        guide.offset += 0.2
        exact = oracle.renyi(0.5, guide.mean(oracle.x), guide.covariance).mean()
        got = Renyi(0.5, 20_000)(pv.VAE(model, guide), oracle.x).value
    assert float(got) == pytest.approx(float(exact), abs=0.015)


def test_enumerated_sites_are_summed_out() -> None:
    pair = Coin()
    vae = pv.VAE(pair.model, pair.guide, estimators={"z": Enumerate()})
    for alpha in (-1.0, 0.5, 1.0):
        assert float(Renyi(alpha, 2)(vae, X).value) == pytest.approx(float(pair.log_evidence().mean().detach()))
