"""Tail-adaptive weights: ranks, and the gradient that they give."""

import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import CheckError
from ppl_vae.estimators import StickingTheLanding
from ppl_vae.objectives import ELBO, TailAdaptive
from ppl_vae.objectives.tail_adaptive import tail_weights
from tests.objectives.pairs import Gaussian, X
from tests.oracles import linear_gaussian


def test_weights_go_by_rank() -> None:
    log_w = torch.tensor([[3.0], [-500.0], [1.0], [2.0]], dtype=torch.float64)
    want = torch.tensor([1, 1 / 4, 1 / 3, 1 / 2], dtype=torch.float64)
    torch.testing.assert_close(tail_weights(log_w).squeeze(), want / want.sum())
    torch.testing.assert_close(tail_weights(log_w, beta=0.0), torch.full_like(log_w, 0.25))
    torch.testing.assert_close(tail_weights(torch.zeros_like(log_w)), torch.full_like(log_w, 0.25))  # ties share


def test_gradient_is_the_formula() -> None:
    """The guide: Σₖ γₖ ∂ log w/∂z · ∂z/∂φ, by hand at the draws; the model: that of the ELBO."""
    pair = Gaussian()
    pyro.set_rng_seed(0)
    t = pv.terms(pv.VAE(pair.model, pair.guide), X, 5)
    eps = ((t.guide["z"].value - pair.guide.p["a"] * X - pair.guide.p["c"]) / pair.guide.p["r"].exp()).detach()
    z = pair.guide.p["a"] * X + pair.guide.p["c"] + pair.guide.p["r"].exp() * eps
    leaf = z.detach().requires_grad_()
    log_w = pair.log_p(leaf, X) - pair.log_q(leaf, X)
    into = torch.autograd.grad((tail_weights(log_w.detach()) * log_w).sum(), leaf)[0] / len(X)
    guide = dict(zip(pair.guide.p, torch.autograd.grad((into * z).sum(), list(pair.guide.p.values())), strict=True))
    model = pair.gradients(pair.log_p(z.detach(), X).mean())

    pyro.set_rng_seed(0)
    bound = TailAdaptive(5)(pv.VAE(pair.model, pair.guide), X)
    bound.surrogate.backward()
    for name, p in pair.parameters().items():
        assert float(p.grad) == pytest.approx(float(guide.get(name, model[name])), rel=1e-9), name
    pyro.set_rng_seed(0)
    assert float(bound.value) == pytest.approx(
        float(ELBO(5, kl="sampled")(pv.VAE(pair.model, pair.guide), X).value), rel=1e-9
    )


def test_exponent_zero_is_the_elbo_sticking_the_landing() -> None:
    pair, found = Gaussian(), []
    for estimators, objective in (({}, TailAdaptive(4, beta=0.0)), ({"z": StickingTheLanding()}, ELBO(4))):
        pyro.set_rng_seed(0)
        vae = pv.VAE(pair.model, pair.guide, estimators=estimators)
        found.append(torch.autograd.grad(objective(vae, X).surrogate, list(pair.parameters().values())))
    torch.testing.assert_close(found[0], found[1])


def test_vanishes_at_the_posterior() -> None:
    oracle = linear_gaussian(orthogonal=True)
    model, guide = oracle.pair(diagonal=True)
    bound = TailAdaptive(4)(pv.VAE(model, guide), oracle.x)
    g = torch.autograd.grad(bound.surrogate, [guide.offset, guide.log_diagonal])
    assert max(float(d.abs().max()) for d in g) < 1e-13


def test_one_particle_has_no_rank() -> None:
    with pytest.raises(CheckError, match="2 or more"):
        TailAdaptive(1)
    with pytest.raises(ValueError, match="beta"):
        TailAdaptive(2, beta=0.5)
