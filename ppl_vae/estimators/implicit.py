"""Implicit reparameterization: differentiate a draw through its distribution function."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.distributions.unwrap import elements
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
        if not has_implicit(q):
            raise ArgumentError(
                f"{type(q).__name__} has no distribution function that can be differentiated. "
                "Use Pathwise() where it has rsample, else ScoreFunction()."
            )
        return implicit_draw(q)


def has_implicit(q: Any) -> bool:
    """True if a distribution has a differentiable distribution function here.

    Example:
        >>> has_implicit(dist.VonMises(torch.tensor(0.0), torch.tensor(1.0))), has_implicit(dist.Poisson(1.0))
        (True, False)
    """
    q = elements(q)
    if isinstance(q, dist.VonMises):
        return True
    if q.event_shape or getattr(q.support, "is_discrete", True):
        return False
    try:
        with torch.no_grad():
            return bool(torch.isfinite(q.cdf(q.sample())).all())
    except NotImplementedError:
        return False


def implicit_draw(q: Any) -> Tensor:
    """A draw z₀ plus a term of value 0 whose gradient is that of z."""
    base = elements(q)
    with torch.no_grad():
        z = base.sample()
    if isinstance(base, dist.VonMises):
        return von_mises_draw(z, base.loc, base.concentration)
    density = base.log_prob(z).detach().exp()
    value = base.cdf(z)
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
