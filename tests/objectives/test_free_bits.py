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


def joint(estimator: pv.estimators.Estimator) -> tuple[pv.VAE, Tensor, Tensor, Tensor]:
    """A continuous and a discrete code, of which the continuous one follows the discrete one."""
    logits, loc = torch.nn.Parameter(torch.tensor([0.5, -0.2, 0.1])), torch.nn.Parameter(torch.tensor([1.0, -1.0, 0.3]))

    def model(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.OneHotCategorical(logits=torch.zeros(3)))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + (c * torch.arange(3.0)).sum(-1), 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.OneHotCategorical(logits=logits + x[:, None]))
            pyro.sample("z", dist.Normal((c * loc).sum(-1), 0.5))

    vae = pv.VAE(model, guide, estimators={"c": estimator})
    return vae, torch.tensor([0.3, -1.0, 2.0]), logits, loc


def test_each_site_has_a_capacity_of_its_own() -> None:
    """Exact KLs of an enumerated code and of a normal that follows it; the site without one keeps its KL as it is."""
    vae, x, logits, loc = joint(pv.estimators.Enumerate())
    q = torch.softmax(logits + x[:, None], -1)
    kl_c = (q * (q.log() + torch.tensor(3.0).log())).sum(-1).mean()
    kl_z = (q * (0.5 * (loc.square() + 0.25 - 1) - torch.tensor(0.5).log())).sum(-1).mean()
    for capacity, cost in (
        ({"z": 0.1, "c": 4.0}, 3.0 * ((kl_z - 0.1).abs() + (kl_c - 4.0).abs())),
        ({"c": linear(2.0, 9.0, 10)}, 3.0 * (kl_c - 2.0).abs() + kl_z),
        (1.0, 3.0 * (kl_z + kl_c - 1.0).abs()),
    ):
        pyro.set_rng_seed(0)
        bound = Capacity(capacity, gamma=3.0)(vae, x)
        torch.testing.assert_close(bound.metrics["log_likelihood"] - bound.value, cost.detach(), rtol=1e-5, atol=1e-5)
        pyro.set_rng_seed(0)
        free = ELBO(beta=0.0)(vae, x)
        for ours, plain, exact in zip(
            torch.autograd.grad(bound.surrogate, [logits, loc]),
            torch.autograd.grad(free.surrogate, [logits, loc]),
            torch.autograd.grad(cost, [logits, loc], retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(plain - ours, exact, rtol=1e-4, atol=1e-5)
    bound = Capacity({"z": 0.1, "c": 4.0})(*joint(pv.estimators.Concrete())[:2])
    assert bool(bound.value.isfinite())


def test_a_capacity_of_no_site_is_refused() -> None:
    vae, x, *_ = joint(pv.estimators.Enumerate())
    with pytest.raises(CheckError, match=r"capacity names \['w'\]; the sites that have a KL are \['c', 'z'\]"):
        Capacity({"w": 1.0})(vae, x)
    with pytest.raises(pv.errors.ArgumentError, match="Got no capacity"):
        Capacity({})
