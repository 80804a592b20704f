"""Discrete distributions continued to relaxed values, as the concrete estimator draws them."""

from typing import Any

import pyro.distributions as dist
import torch.nn.functional as F
from torch import Tensor


def relaxable(q: Any) -> Any:
    """The distribution of single elements, where it is one that can be relaxed.

    Raises:
        ValueError: for any but OneHotCategorical and Bernoulli.
    """
    base = q
    while isinstance(base, (dist.Independent, dist.MaskedDistribution)):
        base = base.base_dist
    if not isinstance(base, (dist.OneHotCategorical, dist.Bernoulli)):
        raise ValueError(
            f"Concrete relaxes OneHotCategorical and Bernoulli sites, got {type(base).__name__}. An index "
            "cannot be relaxed: write a Categorical site as OneHotCategorical (in model and guide), or use "
            "ScoreFunction or Enumerate."
        )
    return base


def is_relaxed(value: Any) -> bool:
    """Whether a value was drawn by `Concrete`."""
    return getattr(value, "_relaxed", False)


def relaxed_log_prob(q: Any, value: Tensor) -> Tensor:
    """The log-probability of a discrete distribution, continued linearly to relaxed values: Σ_c z_c log π_c.

    Example:
        >>> q = dist.OneHotCategorical(probs=torch.tensor([0.25, 0.75]))
        >>> relaxed_log_prob(q, torch.tensor([0.0, 1.0])).exp()
        tensor(0.7500)
    """
    base = relaxable(q)
    if isinstance(base, dist.OneHotCategorical):
        log_prob = (value * F.log_softmax(base.logits, -1)).sum(-1)
    else:
        log_prob = value * F.logsigmoid(base.logits) + (1 - value) * F.logsigmoid(-base.logits)
    while log_prob.dim() > len(q.batch_shape) and isinstance(q, dist.Independent):
        log_prob = log_prob.sum(-1)
    return log_prob
