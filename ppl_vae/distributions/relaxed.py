"""Discrete distributions continued to relaxed values, as the concrete estimator draws them."""

from typing import Any

import pyro.distributions as dist
import torch.nn.functional as F
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from ppl_vae.distributions.unwrap import elements
from ppl_vae.errors import ArgumentError


def relaxable(q: Any) -> Any:
    """The distribution of single elements, where it is one that can be relaxed.

    Raises:
        ArgumentError: for any but OneHotCategorical and Bernoulli.
    """
    base = elements(q)
    if not isinstance(base, (dist.OneHotCategorical, dist.Bernoulli)):
        raise ArgumentError(
            f"Got a site of {type(base).__name__}, expected OneHotCategorical or Bernoulli, which Concrete relaxes. An "
            "index cannot be relaxed: write a Categorical site as OneHotCategorical (in model and guide), or use "
            "ScoreFunction or Enumerate."
        )
    return base


def relaxed_log_prob(q: Any, value: Tensor) -> Tensor:
    """The log-probability of a discrete distribution, continued linearly to relaxed values: Σ_c z_c log π_c.

    Example:
        >>> import torch
        >>> q = dist.OneHotCategorical(probs=torch.tensor([0.25, 0.75]))
        >>> relaxed_log_prob(q, torch.tensor([0.0, 1.0])).exp()
        tensor(0.7500)
    """
    if isinstance(q, dist.MaskedDistribution):
        return scale_and_mask(relaxed_log_prob(q.base_dist, value), 1.0, q._mask)
    if isinstance(q, dist.Independent):
        return relaxed_log_prob(q.base_dist, value).sum(tuple(range(-q.reinterpreted_batch_ndims, 0)))
    base = relaxable(q)
    if isinstance(base, dist.OneHotCategorical):
        return (value * F.log_softmax(base.logits, -1)).sum(-1)
    return value * F.logsigmoid(base.logits) + (1 - value) * F.logsigmoid(-base.logits)
