"""Implicit reparameterization: differentiate a draw through its distribution function."""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.distributions.unwrap import elements, family, support_of
from ppl_vae.errors import ArgumentError
from ppl_vae.estimators.base import Estimator

if TYPE_CHECKING:
    from ppl_vae.core.axes import Axes


@final
@dataclass(frozen=True)
class Implicit(Estimator):
    r"""Draw z by any sampler, and differentiate it as if it had been drawn by inverting its distribution function F.

    $$\nabla_\phi z = -\frac{\nabla_\phi F(z; \phi)}{q_\phi(z)}$$

    No inverse is needed, only F, differentiable in φ: for the von Mises distribution by quadrature, else what the
    distribution's `cdf` gives (mixtures, for example, which have no `rsample`). Each element of an event is
    differentiated by itself, so events must have independent elements.

    References:
        Figurnov, Mohamed and Mnih (2018), Implicit Reparameterization Gradients, https://arxiv.org/abs/1805.08498
    """

    def draw(self, q: Any, axes: "Axes | None" = None) -> Tensor:
        """A draw that carries a gradient."""
        return implicit_draw(q)


def has_implicit(q: Any) -> bool:
    """True if a distribution has a distribution function here that can be differentiated in each of its parameters.

    Example:
        >>> has_implicit(dist.VonMises(torch.tensor(0.0), torch.tensor(1.0))), has_implicit(dist.Poisson(1.0))
        (True, False)
        >>> has_implicit(dist.Gamma(torch.tensor(2.0), torch.tensor(1.0)))  # torch lacks its derivative in the shape
        False
    """
    q = elements(q)
    if isinstance(q, dist.VonMises):
        return True
    if q.event_shape or getattr(support_of(q), "is_discrete", True):
        return False
    try:
        with torch.enable_grad():
            q, parameters = _with_leaves(q)
            value = q.cdf(q.sample().detach())
            if parameters and value.requires_grad:
                torch.autograd.grad(value.sum(), parameters, allow_unused=True)
    except NotImplementedError:  # by the distribution, or by the derivative of one of its functions
        return False
    return bool(torch.isfinite(value).all())


def _with_leaves(q: Any) -> tuple[Any, list[Tensor]]:
    """A copy of a distribution whose parameters, and those of what it is made of, are leaves of their own graph."""
    copied, leaves = copy.copy(q), []
    for name, value in vars(q).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            leaves.append(value.detach().requires_grad_())
            vars(copied)[name] = leaves[-1]
        elif isinstance(value, torch.distributions.Distribution):
            vars(copied)[name], below = _with_leaves(value)
            leaves += below
    return copied, leaves


def implicit_draw(q: Any) -> Tensor:
    """A draw z₀ plus a term of value 0 whose gradient is that of z.

    Raises:
        ArgumentError: The distribution has no distribution function.
    """
    base = elements(q)
    with torch.no_grad():
        z = base.sample()
    if isinstance(base, dist.VonMises):
        return von_mises_draw(z, base.loc, base.concentration)
    try:
        value = base.cdf(z)
    except NotImplementedError:
        raise ArgumentError(
            f"{family(q)} has no distribution function that can be differentiated. "
            "Use Pathwise() where it has rsample, else ScoreFunction()."
        ) from None
    density = base.log_prob(z).detach().exp()
    return z - (value - value.detach()) / density


_NODES, _WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(48))


def von_mises_draw(z: Tensor, loc: Tensor, concentration: Tensor) -> Tensor:
    r"""A von Mises draw with its gradient: 1 in the location, −(∂F/∂κ)/q in the concentration κ.

    $$F(u; \kappa) = \tfrac12 + \frac{1}{2\pi I_0(\kappa)} \int_0^u e^{\kappa \cos t}\,dt$$

    by Gauss-Legendre quadrature over the part of [0, u] that has mass.
    """
    kappa = concentration[..., None]
    u = torch.remainder(z - loc + torch.pi, 2 * torch.pi).detach() - torch.pi
    width = 12 / kappa.detach().clamp_min(1e-6).sqrt()
    end = u.sign()[..., None] * torch.minimum(u.abs()[..., None], width)
    nodes, weights = (a.to(u) for a in (_NODES, _WEIGHTS))
    t = end * (nodes + 1) / 2
    integral = (torch.exp(kappa * (t.cos() - 1)) * weights).sum(-1) * end[..., 0] / 2
    normalizer = 2 * torch.pi * torch.special.i0e(concentration)
    value = integral / normalizer
    density = (torch.exp(concentration * (u.cos() - 1)) / normalizer).detach()
    return z + (loc - loc.detach()) - (value - value.detach()) / density
