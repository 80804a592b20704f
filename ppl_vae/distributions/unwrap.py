"""A distribution without what is wrapped around it: `to_event`, `expand`, `mask`."""

from typing import Any

import torch
from pyro.distributions import Independent, MaskedDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution

_INDEPENDENT = (Independent, torch.distributions.Independent)


def elements(fn: Any) -> Any:
    """The distribution of single elements: without `to_event` and `mask`.

    Example:
        >>> import pyro.distributions as dist
        >>> elements(dist.Normal(torch.zeros(3), 1.0).to_event(1).mask(False))
        Normal(loc: torch.Size([3]), scale: torch.Size([3]))
    """
    while isinstance(fn, (*_INDEPENDENT, MaskedDistribution)):
        fn = fn.base_dist
    return fn


def unmasked(fn: Any) -> Any:
    """The same distribution without its masks.

    Example:
        >>> import pyro.distributions as dist
        >>> unmasked(dist.Bernoulli(torch.full((2,), 0.5)).mask(False).to_event(1)).log_prob(torch.ones(2)).exp()
        tensor(0.2500)
    """
    if isinstance(fn, MaskedDistribution):
        return unmasked(fn.base_dist)
    if isinstance(fn, _INDEPENDENT) and is_masked(fn):
        return Independent(unmasked(fn.base_dist), fn.reinterpreted_batch_ndims)
    if isinstance(fn, ExpandedDistribution) and is_masked(fn):
        return unmasked(fn.base_dist).expand(fn.batch_shape)
    return fn


def is_masked(fn: Any) -> bool:
    """Whether a distribution, or one that it wraps, is masked."""
    while fn is not None:
        if isinstance(fn, MaskedDistribution):
            return True
        fn = getattr(fn, "base_dist", None) if isinstance(fn, (*_INDEPENDENT, ExpandedDistribution)) else None
    return False


def mask_of(fn: Any) -> Any:
    """The mask of a distribution that is masked outermost or under `to_event`; None without one."""
    while fn is not None:
        if isinstance(fn, MaskedDistribution):
            return fn._mask
        fn = getattr(fn, "base_dist", None) if isinstance(fn, (*_INDEPENDENT, ExpandedDistribution)) else None
    return None


def is_detached(fn: Any) -> bool:
    """Whether the user switched reparameterized draws off, by `has_rsample_(False)`.

    Example:
        >>> import pyro.distributions as dist
        >>> is_detached(dist.Normal(0.0, 1.0).has_rsample_(False)), is_detached(dist.VonMises(0.0, 1.0))
        (True, False)
    """
    while fn is not None:
        if vars(fn).get("has_rsample") is False:
            return True
        fn = getattr(fn, "base_dist", None) if isinstance(fn, (*_INDEPENDENT, MaskedDistribution)) else None
    return False
