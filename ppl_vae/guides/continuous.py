"""Families over continuous latents: normals on the unconstrained space, diagonal, full-rank, or through flows."""

from math import prod
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, ReshapeTransform, constraints

from ppl_vae.distributions.bijections import bijection, elementary, is_real, joint_support
from ppl_vae.guides.family import Family, sound_start
from ppl_vae.nn.flows import Autoregressive
from ppl_vae.nn.heads import inverse_softplus, positive

INVERSE_SOFTPLUS_1 = inverse_softplus(1.0)

CONTEXT = 16
"""Numbers by which the head of a local latent tells its flows of the datum."""

NUM_FLOWS = 2
"""Inverse autoregressive layers, of opposite orders."""


class Continuous(Family):
    """A diagonal normal, carried onto the support by the bijection that torch registers for it."""

    label = "diagonal"
    num_params = 2

    def __init__(self, fn: Any) -> None:
        super().__init__(fn)
        # Of the whole shape: bounds that differ between data have batch axes of their own.
        batch = tuple(fn.batch_shape)
        self.shape = tuple(bijection(fn).inverse_shape(torch.Size((*batch, *fn.event_shape))))[len(batch) :]
        support = elementary(joint_support(fn))
        half_line = isinstance(support, constraints.greater_than | constraints.greater_than_eq)
        self.is_positive = half_line and bool(torch.as_tensor(support.lower_bound == 0).all())

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """Location and scale on the unconstrained space."""
        loc, scale = params
        return self._onto_support(dist.Normal(loc, scale).to_event(len(self.shape)), fn)

    def _onto_support(self, base: Any, fn: Any, cache_size: int = 0) -> Any:
        if is_real(fn):
            return base  # closed forms of the KL know this one
        out = dist.TransformedDistribution(base, [bijection(fn).with_cache(cache_size)])
        return out.to_event(len(self.event_shape) - out.event_dim)

    def in_prior_units(self, raw: tuple[Tensor, ...], loc: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """Location and scale on the unconstrained space."""
        return loc + scale * raw[0], scale * positive(raw[1] + INVERSE_SOFTPLUS_1)

    def features(self, value: Tensor) -> Tensor:
        """The value itself, or its logarithm for positive values."""
        tiny = torch.finfo(value.dtype).tiny
        return self._flat(value.clamp(min=tiny).log() if self.is_positive else value)

    def start(self, draws: Tensor, fn: Any) -> tuple[Tensor, Tensor]:
        """Median and standard deviation of the draws on the unconstrained space."""
        free = bijection(fn).inv(draws)
        return sound_start(free.median(0).values, free.std(0))


class _Vector(Continuous):
    """A continuous latent seen as one vector of the unconstrained space."""

    def __init__(self, fn: Any) -> None:
        super().__init__(fn)
        self.dim = prod(self.shape)

    def _vectors(self, *parts: Tensor) -> tuple[Tensor, ...]:
        return tuple(p.flatten(-len(self.shape)) for p in parts)

    def _from_vectors(self, base: Any, fn: Any) -> Any:
        # With caches, as the flow below could undo its own draw in as many passes only as there are elements.
        if len(self.shape) > 1:
            base = dist.TransformedDistribution(
                base, [ReshapeTransform(torch.Size((self.dim,)), torch.Size(self.shape), cache_size=1)]
            )
        return self._onto_support(base, fn, cache_size=1)


class FullRank(_Vector):
    r"""$\mathrm{Normal}(m, L L^\top)$ on the unconstrained space, L lower triangular in units of the prior's scales."""

    label = "full_rank"

    def __init__(self, fn: Any) -> None:
        super().__init__(fn)
        self.num_rest = self.dim * (self.dim - 1) // 2

    def joint(self, raw: tuple[Tensor, ...], start: tuple[Tensor, Tensor], rest: Tensor, flows: Any, fn: Any) -> Any:
        """The rest are the elements of L below its diagonal, row by row, in units of the scale of their row."""
        loc, scale = self._vectors(*self.in_prior_units(raw, *start))
        (unit,) = self._vectors(start[1])
        rows, columns = torch.tril_indices(self.dim, self.dim, -1, device=rest.device)
        below = rest.new_zeros(*rest.shape[:-1], self.dim * self.dim)
        below = below.index_copy(-1, rows * self.dim + columns, rest).unflatten(-1, (self.dim, self.dim))
        tril = unit.unsqueeze(-1) * below + scale.diag_embed()
        return self._from_vectors(dist.MultivariateNormal(loc, scale_tril=tril), fn)


class Flow(_Vector):
    r"""$z = f_2(f_1(\mu + \sigma\epsilon))$ with inverse autoregressive flows, then onto the support.

    References:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
            https://arxiv.org/abs/1606.04934
    """

    label = "flow"
    num_rest = CONTEXT

    def flows(self, local: bool) -> list[nn.Module]:
        """Two inverse autoregressive layers, of opposite orders."""
        return [Autoregressive(self.dim, CONTEXT if local else 0, reverse=t % 2 == 1) for t in range(NUM_FLOWS)]

    def joint(self, raw: tuple[Tensor, ...], start: tuple[Tensor, Tensor], rest: Tensor, flows: Any, fn: Any) -> Any:
        """The rest is the context of the flows; a global latent has none."""
        loc, scale = self._vectors(raw[0], positive(raw[1] + INVERSE_SOFTPLUS_1))
        context = (rest,) if rest.shape[-1] else ()
        unit_loc, unit_scale = self._vectors(*start)
        units = AffineTransform(unit_loc, unit_scale, event_dim=1, cache_size=1)
        base = dist.Normal(loc, scale).to_event(1)
        flown = dist.TransformedDistribution(base, [*(flow(*context) for flow in flows), units])
        return self._from_vectors(flown, fn)


class Circle(Family):
    """Von Mises: a normal on the line would be no density over angles."""

    label = "von_mises"
    num_params = 2

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """Angle and raw concentration."""
        loc, raw = params
        return dist.VonMises(loc, positive(raw)).to_event(len(self.event_shape))

    def features(self, value: Tensor) -> Tensor:
        """Cosine and sine."""
        return torch.stack([value.cos(), value.sin()], -1).flatten(-1 - len(self.event_shape))
