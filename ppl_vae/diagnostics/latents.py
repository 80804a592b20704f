"""What each latent unit carries: its KL, the variance of its posterior mean, whether it is active."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from ppl_vae.enumeration import expect_local
from ppl_vae.kl import analytic_kl

if TYPE_CHECKING:
    from ppl_vae.terms import Terms

ACTIVE: Final = 0.01
"""A unit is active where the variance over data of its posterior mean exceeds this (Burda et al. 2016)."""


def unit_kl(t: "Terms", name: str) -> Tensor | None:
    r"""KL of each unit of a latent site, for sites whose units are independent given their parents.

    $$\mathrm{KL}(q \,\|\, p) = \sum_j \mathrm{KL}(q_j \,\|\, p_j)$$

    Args:
        t: the terms of a batch.
        name: a latent site in the data plate.

    Returns:
        `(data, units)`, nats, averaged over particles; or None where q or p does not factorize (a full
        covariance, a flow, a mixture prior). Closed form where there is one, else by sampling.
    """
    q, p = t.guide[name], t.model.get(name)
    if p is None or q.is_auxiliary:
        return None
    q_unit, p_unit = _factor(q.fn), _factor(p.fn)
    if q_unit is None or p_unit is None or q.fn.event_dim != p.fn.event_dim or q.mask is not None:
        return None
    if analytic_kl(t, name) is not None:
        kl = kl_divergence(q_unit, p_unit)
    elif t.num_particles > 1 and t.layout.strategy == "loop":
        return None  # the distribution at hand is the first particle's only
    else:
        kl = q_unit.log_prob(q.raw) - p_unit.log_prob(q.raw)
    event_dim = q.fn.event_dim
    kl = kl.expand(torch.broadcast_shapes(kl.shape, q.fn.batch_shape + q.fn.event_shape))
    kl = kl.flatten(kl.dim() - event_dim) if event_dim else kl.unsqueeze(-1)
    return _expected(torch.vmap(q.reduce, in_dims=-1, out_dims=-1)(kl), t).mean(0)


def unit_values(t: "Terms", name: str) -> Tensor:
    """Values of a local site, `(particles, data, units)`; expected ones where they depend on an enumerated site."""
    value = t.latents[name].value.detach().double()
    lead = t.latents[name].particle_axis + 2
    return _expected(value.flatten(lead) if value.dim() > lead else value[..., None], t)


def _expected(f: Tensor, t: "Terms") -> Tensor:
    """E over the sites that the guide enumerates: `(enumerated…, particles, data, units)` without the first axes."""
    f = f.movedim(-1, 0)
    depth = max((s.log_prob.dim() for s in t.guide.values() if s.is_local and s.enum_dim is not None), default=2)
    while f.dim() < depth + 1:
        f = f.unsqueeze(1)
    f = expect_local(f, t)
    return f.reshape(f.shape[0], *f.shape[-2:]).movedim(0, -1)


def _factor(fn: Any) -> Any:
    while isinstance(fn, Independent):
        fn = fn.base_dist
    return fn if fn.event_dim == 0 else None


@dataclass
class UnitMoments:
    r"""Running mean and variance over particles of each unit's value, per datum.

    The variance over data of the posterior mean is estimated without bias by

    $$\mathrm{Var}_x\big(\bar z(x)\big) - \tfrac1K \, \mathrm{mean}_x\, s^2(x)$$

    where z̄ and s² are mean and variance of K draws.
    """

    count: int = 0
    total: Tensor | None = None
    square: Tensor | None = None

    def update(self, value: Tensor) -> None:
        """Take a chunk of particles, `(particles, data, units)`."""
        total, square = value.sum(0), value.square().sum(0)
        self.total = total if self.total is None else self.total + total
        self.square = square if self.square is None else self.square + square
        self.count += value.shape[0]

    @property
    def mean(self) -> Tensor:
        """Posterior means `(data, units)`."""
        assert self.total is not None
        return self.total / self.count

    @property
    def variance(self) -> Tensor:
        """Posterior variances `(data, units)`; NaN for a single particle."""
        assert self.square is not None
        return (self.square / self.count - self.mean.square()).clamp(min=0) * self.count / (self.count - 1 or torch.nan)


def variance_of_means(mean: Tensor, variance: Tensor, particles: int) -> Tensor:
    """Estimate the variance over data of the posterior means, `(units,)`, from `UnitMoments` of all data.

    >>> mean = torch.tensor([[0.0], [2.0]])
    >>> variance_of_means(mean, torch.zeros(2, 1), particles=10)
    tensor([2.])
    """
    if len(mean) < 2:
        return torch.full_like(mean[0], torch.nan)
    noise = variance.nan_to_num().mean(0) / particles
    return (mean.var(0) - noise).clamp(min=0)
