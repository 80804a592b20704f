"""The reparameterization trick itself: a draw as a function of parameter-free noise.

    z = g(ε; φ),   ε ~ p(ε)

`explicit(q)` gives the distribution of ε and the map g for a distribution q; where q has no such form but torch can
differentiate its draws all the same (Gamma, Beta, Dirichlet, Student-t: implicitly), it gives None.
"""

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

Transport = tuple[Any, Callable[[Tensor], Tensor]]

_LOCATION_SCALE = (dist.Normal, dist.Laplace, dist.Cauchy, dist.Logistic)


class _StandardNormal(dist.Normal):
    """Normal(0, 1): the numbers that `dist.Normal` draws, without a mean to add and a scale to multiply by."""

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - torch's own signature
        return torch.randn(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)


def explicit(q: Any) -> Transport | None:
    """The noise distribution and the map g of a distribution, or None where there is no explicit one.

    Example:
        >>> noise, g = explicit(dist.Normal(torch.tensor(3.0), 2.0))
        >>> g(torch.tensor(-1.0))
        tensor(1.)
    """
    if isinstance(q, (dist.Independent, dist.MaskedDistribution)):
        inner = explicit(q.base_dist)
        if inner is None:
            return None
        noise, g = inner
        return (noise.to_event(q.reinterpreted_batch_ndims) if isinstance(q, dist.Independent) else noise), g
    if type(q) is dist.Normal:
        noise = _StandardNormal(torch.zeros_like(q.loc), torch.ones_like(q.scale), validate_args=False)
        return noise, lambda e: q.loc + q.scale * e
    if isinstance(q, _LOCATION_SCALE):
        return type(q)(torch.zeros_like(q.loc), torch.ones_like(q.scale)), lambda e: q.loc + q.scale * e
    if isinstance(q, dist.Uniform):
        unit = dist.Uniform(torch.zeros_like(q.low), torch.ones_like(q.high))
        return unit, lambda e: q.low + (q.high - q.low) * e
    if isinstance(q, dist.Exponential):
        return dist.Exponential(torch.ones_like(q.rate)), lambda e: e / q.rate
    if isinstance(q, dist.MultivariateNormal):
        noise = dist.Normal(torch.zeros_like(q.loc), torch.ones_like(q.loc)).expand(q.batch_shape + q.event_shape)
        return noise.to_event(1), lambda e: q.loc + (q._unbroadcasted_scale_tril @ e[..., None])[..., 0]
    if isinstance(q, dist.TransformedDistribution) and not isinstance(q, dist.ExpandedDistribution):
        return _transformed(q)
    return None


def _transformed(q: Any) -> Transport | None:
    inner = explicit(q.base_dist)
    if inner is None:
        return None
    noise, g = inner

    def push(e: Tensor) -> Tensor:
        z = g(e)
        for transform in q.transforms:
            z = transform(z)
        return z

    return noise, push


def is_finite(q: Any, limit: int = 256) -> bool:
    """True if a distribution has a finite, small support that can be enumerated.

    Example:
        >>> is_finite(dist.Categorical(torch.ones(10))), is_finite(dist.Poisson(torch.tensor(1.0)))
        (True, False)
    """
    return getattr(q, "has_enumerate_support", False) and 0 < support_size(q) <= limit


def support_size(q: Any) -> int:
    """The number of values of a distribution that can be enumerated; 0 if they cannot be listed."""
    try:
        return int(q.enumerate_support(expand=False).shape[0])
    except NotImplementedError:  # e.g. a Binomial whose total counts differ
        return 0
