"""Draws that are differentiated through a distribution function, over all that Pyro has: right, or refused by name."""

import inspect

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import nn
from torch.distributions import constraints, transform_to

import ppl_vae as pv
from ppl_vae.errors import PplVaeError
from ppl_vae.estimators import Implicit, Pathwise
from ppl_vae.estimators.implicit import has_implicit, implicit_draw


def scalar_families() -> dict[str, tuple[type, dict[str, constraints.Constraint]]]:
    """Every family of Pyro over real numbers whose required parameters are elementwise, with those parameters."""
    found = {}
    for name, family in vars(dist).items():
        if not (isinstance(family, type) and issubclass(family, TorchDistributionMixin)):
            continue
        taken = inspect.signature(family.__init__).parameters
        needed = [k for k, p in taken.items() if p.default is p.empty and p.kind == p.POSITIONAL_OR_KEYWORD][1:]
        limits = getattr(family, "arg_constraints", {})
        limits = {k: limits[k] for k in needed if k in limits} if isinstance(limits, dict) else {}
        try:
            q = family(**{k: transform_to(c)(torch.zeros(3)) for k, c in limits.items()})
            if q.batch_shape == (3,) and not q.event_shape and not q.support.is_discrete:
                q.expand((2, 3)).log_prob(q.sample())
                found[name] = family, limits
        except Exception:
            continue  # not of elementwise parameters, or no distribution of its own
    return found


FAMILIES = scalar_families()


class Guide(nn.Module):
    """A family with learned parameters, alone or as the components of a mixture."""

    def __init__(self, name: str, mixed: bool) -> None:
        super().__init__()
        self.family, self.limits = FAMILIES[name]
        self.mixed = mixed
        self.raw = nn.ParameterDict({k: nn.Parameter(torch.full((2,), 0.3)) for k in self.limits})

    def q(self) -> dist.TorchDistribution:
        parameters = {k: transform_to(c)(self.raw[k]) for k, c in self.limits.items()}
        if self.mixed:
            return dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), self.family(**parameters))
        return self.family(**{k: p[0] for k, p in parameters.items()})

    def forward(self, x: torch.Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.q().expand([x.shape[0]]))


def test_there_are_families_to_search() -> None:
    assert {"Normal", "Gamma", "Beta", "VonMises", "Weibull", "StudentT", "Laplace"} <= set(FAMILIES)
    assert len(FAMILIES) > 20


@pytest.mark.parametrize("mixed", [False, True], ids=["alone", "mixture"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_gradient_comes_back_or_the_estimator_is_refused(name: str, mixed: bool) -> None:
    """By default, and for each estimator that differentiates draws."""
    torch.manual_seed(0)
    try:
        prior = Guide(name, mixed).q()
        prior.log_prob(prior.sample())
    except (ValueError, NotImplementedError):
        pytest.skip("no mixture of its components")

    def model(x: torch.Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", Guide(name, mixed).q().expand([x.shape[0]]))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    for estimators in ({}, {"z": Implicit()}, {"z": Pathwise()}):
        guide = Guide(name, mixed)
        try:
            bound = pv.objectives.ELBO(2)(pv.VAE(model, guide, estimators=estimators), torch.rand(4))
        except PplVaeError:
            if estimators:
                continue
            raise  # nothing was asked for
        bound.surrogate.backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in guide.raw.values())


@pytest.mark.parametrize("name", [n for n in FAMILIES if has_implicit(Guide(n, mixed=False).q())])
def test_the_gradient_is_that_of_inverting_the_distribution_function(name: str) -> None:
    """Against the draw's own reparameterization, where torch has one: dz/dφ at a given z is unique in one dimension."""
    guide = Guide(name, mixed=False).double()
    q = guide.q()
    if not q.has_rsample or not hasattr(q, "icdf"):
        return
    torch.manual_seed(1)
    try:
        z = implicit_draw(q)
        again = q.icdf(q.cdf(z.detach()).detach())
    except (NotImplementedError, RuntimeError):  # none, or not in double precision (GeneralizedPareto)
        return
    for parameter in guide.raw.values():
        found, expected = (
            torch.autograd.grad(v, parameter, retain_graph=True, allow_unused=True)[0] for v in (z, again)
        )
        if found is None or expected is None:
            assert found is None
            assert expected is None or not expected.any()
        else:
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
