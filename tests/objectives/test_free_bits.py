"""Free bits: the ELBO above the threshold, a constant below."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppl_vae as pv
from ppl_vae.errors import CheckError
from ppl_vae.objectives import ELBO, Capacity, FreeBits, advance
from ppl_vae.schedules import linear
from tests.oracles import linear_gaussian


def run(objective: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    oracle = linear_gaussian(orthogonal=True)
    model, guide = oracle.pair(diagonal=True)
    pyro.set_rng_seed(0)
    bound = objective(pv.VAE(model, guide), oracle.x)
    return bound.value, torch.autograd.grad(bound.surrogate, guide.log_diagonal)[0], bound.metrics


@pytest.mark.parametrize("per", ["dimension", "site"])
def test_nothing_free_is_the_analytic_elbo(per: str) -> None:
    ours, theirs = run(FreeBits(0.0, per, 3)), run(ELBO(3, kl="analytic"))
    torch.testing.assert_close(ours[:2], theirs[:2])


@pytest.mark.parametrize(("per", "groups"), [("dimension", 2), ("site", 1)])
def test_all_free_is_a_constant(per: str, groups: int) -> None:
    """Below λ no gradient comes from the KL."""
    value, gradient, metrics = run(FreeBits(50.0, per))
    torch.testing.assert_close(value, metrics["log_likelihood"] - 50.0 * groups)
    torch.testing.assert_close(gradient, run(ELBO(beta=0.0))[1])


def test_each_dimension_has_its_own_threshold() -> None:
    """The KL of each dimension is its mean over the data before it is compared."""
    oracle = linear_gaussian(orthogonal=True)
    _, guide = oracle.pair(diagonal=True)
    mean, variance = guide.mean(oracle.x).detach(), guide.covariance.diagonal().detach()
    by_dimension = (0.5 * (mean.square() + variance - 1 - variance.log())).mean(0)
    threshold = float(by_dimension.mean())  # between the two
    value, _, metrics = run(FreeBits(threshold, "dimension"))
    want = by_dimension.clamp_min(threshold).sum()
    torch.testing.assert_close(metrics["log_likelihood"] - value, want, rtol=1e-6, atol=1e-6)


def test_minibatches_of_global_and_local_sites() -> None:
    """Global sites are charged in full, by their share per datum."""

    def program(x: Tensor, p: bool) -> None:
        w = pyro.sample("w", dist.Normal(0.0 if p else 1.0, 1.0))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(()) if p else x, 1.0))
            if p:
                pyro.sample("x", dist.Normal(z + w, 1.0), obs=x)

    vae = pv.VAE(lambda x: program(x, True), lambda x: program(x, False))
    x = torch.tensor([2.0, 0.0])
    bound = FreeBits(0.3, "site")(vae, x, total=10)
    torch.testing.assert_close(bound.metrics["log_likelihood"] - bound.value, torch.tensor(1.0 + 0.05))  # KLs: 1, ½/10


def test_closed_forms_per_dimension_are_needed() -> None:
    oracle = linear_gaussian()
    vae = pv.VAE(*oracle.pair())  # a full covariance
    with pytest.raises(CheckError, match="per='site'"):
        FreeBits(0.1)(vae, oracle.x)
    assert bool(FreeBits(0.1, per="site")(vae, oracle.x).value.isfinite())


@pytest.mark.parametrize("settings", [{"nats": -1.0}, {"per": "datum"}, {"num_particles": 0}])
def test_nonsense_is_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        FreeBits(**settings)


def test_no_capacity_is_beta() -> None:
    ours, theirs = run(Capacity(0.0, gamma=4.0)), run(ELBO(kl="analytic", beta=4.0))
    torch.testing.assert_close(ours[:2], theirs[:2])


@pytest.mark.parametrize("capacity", [0.5, 8.0])
def test_is_drawn_to_the_capacity(capacity: float) -> None:
    """γ |KL − C|: below C the gradient raises the KL."""
    value, gradient, metrics = run(Capacity(capacity, gamma=4.0))
    bound, one, _ = run(ELBO(kl="analytic"))
    kl = metrics["log_likelihood"] - bound
    torch.testing.assert_close(value, metrics["log_likelihood"] - 4.0 * (kl - capacity).abs())
    free = run(ELBO(beta=0.0))[1]
    sign = 1.0 if float(kl) > capacity else -1.0
    torch.testing.assert_close(gradient - free, 4.0 * sign * (one - free))


def test_grows_while_training() -> None:
    objective = Capacity(linear(0.0, 2.0, 10, unit="epochs"), gamma=1.0)
    for epoch, capacity in ((0, 0.0), (5, 1.0), (50, 2.0)):
        advance(objective, step=100 * epoch, epoch=epoch)
        value, _, metrics = run(objective)
        kl = metrics["log_likelihood"] - run(ELBO(kl="analytic"))[0]
        torch.testing.assert_close(value, metrics["log_likelihood"] - (kl - capacity).abs())
