"""Controlled capacity: the KL on either side of it."""

import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae.objectives import ELBO, Capacity, advance
from ppl_vae.schedules import linear
from tests.oracles import linear_gaussian


def run(objective: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    oracle = linear_gaussian(orthogonal=True)
    model, guide = oracle.pair(diagonal=True)
    pyro.set_rng_seed(0)
    bound = objective(pv.VAE(model, guide), oracle.x)
    return bound.value, torch.autograd.grad(bound.surrogate, guide.log_diagonal)[0], bound.metrics


def test_no_capacity_is_beta() -> None:
    ours, theirs = run(Capacity(0.0, gamma=4.0)), run(ELBO(kl="analytic", beta=4.0))
    torch.testing.assert_close(ours[:2], theirs[:2])


@pytest.mark.parametrize("capacity", [0.5, 8.0])
def test_is_drawn_to_the_capacity(capacity: float) -> None:
    """γ |KL − C|: below C the gradient raises the KL."""
    value, gradient, metrics = run(Capacity(capacity, gamma=4.0))
    torch.testing.assert_close(value, metrics["log_likelihood"] - 4.0 * (metrics["kl/z"] - capacity).abs())
    free, one = run(ELBO(beta=0.0))[1], run(ELBO(kl="analytic"))[1]
    sign = 1.0 if float(metrics["kl/z"]) > capacity else -1.0
    torch.testing.assert_close(gradient - free, 4.0 * sign * (one - free))


def test_grows_while_training() -> None:
    objective = Capacity(linear(0.0, 2.0, 10, unit="epochs"), gamma=1.0)
    for epoch, capacity in ((0, 0.0), (5, 1.0), (50, 2.0)):
        advance(objective, step=100 * epoch, epoch=epoch)
        value, _, metrics = run(objective)
        torch.testing.assert_close(value, metrics["log_likelihood"] - (metrics["kl/z"] - capacity).abs())
