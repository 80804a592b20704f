"""Mean and variance of a distribution, where it knows them."""

from typing import Any

import torch
from torch import Tensor

from ppl_vae.distributions.unwrap import innermost, unmasked


def moments(fn: Any) -> tuple[Tensor, Tensor, int] | None:
    """Mean and variance of each element, and how many axes an event of them has; None where they are not known.

    A category counts as the indicator of each of its values, so that its mean are their probabilities. An angle has
    the mean and variance that its distribution defines.

    Example:
        >>> import pyro.distributions as dist
        >>> mean, variance, event_dim = moments(dist.Gamma(4.0 * torch.ones(3), 2.0).to_event(1))
        >>> mean, variance, event_dim
        (tensor([2., 2., 2.]), tensor([1., 1., 1.]), 1)
        >>> moments(dist.Categorical(torch.tensor([0.25, 0.75])))[0]
        tensor([0.2500, 0.7500])
    """
    last, fn = innermost(fn), unmasked(fn)
    event_dim = getattr(fn, "event_dim", 0)
    if isinstance(last, torch.distributions.Categorical):
        p = last.probs
        return p, p * (1 - p), event_dim + 1
    try:
        mean, variance = fn.mean, fn.variance
    except (NotImplementedError, AttributeError):
        return None
    if not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
        return None
    return None if bool(mean.isnan().any() | variance.isnan().any()) else (mean, variance, event_dim)
