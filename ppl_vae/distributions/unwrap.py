"""A distribution without what is wrapped around it: `to_event`, `mask`, `expand`."""

from collections.abc import Iterator
from typing import Any

import pyro.distributions as dist
from pyro.distributions import MaskedDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch.distributions import Independent, constraints
from torch.distributions.constraints import MixtureSameFamilyConstraint

from ppl_vae.distributions.adapted import Adapted


def layers(fn: Any) -> Iterator[Any]:
    """The distribution, and one after the other those that it is wrapped around."""
    yield fn
    while isinstance(fn, (Independent, MaskedDistribution, ExpandedDistribution)):
        fn = fn.base_dist
        yield fn


def innermost(fn: Any) -> Any:
    """The distribution without any wrapper, which may have a smaller batch shape.

    Example:
        >>> import torch
        >>> innermost(dist.Normal(torch.zeros(3), 1.0).mask(False).to_event(1))
        Normal(loc: torch.Size([3]), scale: torch.Size([3]))
    """
    *_, last = layers(fn)
    return last


def elements(fn: Any) -> Any:
    """The distribution of single elements: without `to_event` and `mask`.

    Example:
        >>> import torch
        >>> elements(dist.Normal(torch.zeros(3), 1.0).to_event(1).mask(False))
        Normal(loc: torch.Size([3]), scale: torch.Size([3]))
    """
    return next(layer for layer in layers(fn) if not isinstance(layer, (Independent, MaskedDistribution)))


def factors(fn: Any) -> Any:
    """The distribution of the elements that `to_event` joined; a mask on them stays."""
    return next(layer for layer in layers(fn) if not isinstance(layer, Independent))


def unmasked(fn: Any) -> Any:
    """The same distribution without its masks.

    Example:
        >>> import torch
        >>> unmasked(dist.Bernoulli(torch.full((2,), 0.5)).mask(False).to_event(1)).log_prob(torch.ones(2)).exp()
        tensor(0.2500)
    """
    if not is_masked(fn):
        return fn
    base = unmasked(fn.base_dist)
    if isinstance(fn, Independent):
        return dist.Independent(base, fn.reinterpreted_batch_ndims)
    return base.expand(fn.batch_shape) if isinstance(fn, ExpandedDistribution) else base


def is_masked(fn: Any) -> bool:
    """True if a distribution, or one that it wraps, is masked."""
    return any(isinstance(layer, MaskedDistribution) for layer in layers(fn))


def mask_of(fn: Any) -> Any:
    """The outermost mask of a distribution; None without one."""
    return next((layer._mask for layer in layers(fn) if isinstance(layer, MaskedDistribution)), None)


def family(fn: Any) -> str:
    """The name of a distribution without what is wrapped around it.

    Example:
        >>> family(dist.Normal(0.0, 1.0).mask(False))
        'Normal'
    """
    last = innermost(fn)
    return type(last.base if isinstance(last, Adapted) else last).__name__


def is_detached(fn: Any) -> bool:
    """True if the user switched reparameterized draws off, by `has_rsample_(False)`.

    Example:
        >>> import torch
        >>> is_detached(dist.Normal(0.0, 1.0).has_rsample_(False)), is_detached(dist.VonMises(0.0, 1.0))
        (True, False)
    """
    return any(vars(layer).get("has_rsample") is False for layer in layers(fn))


def support_of(fn: Any) -> Any:
    """The support of a distribution, of single elements where they are independent; None where it has none."""
    try:
        support = fn.support
    except (NotImplementedError, AttributeError):
        return None
    while isinstance(support, (constraints.independent, MixtureSameFamilyConstraint)):
        support = support.base_constraint  # that of a mixture is that of its components
    return support
