"""KL(q ‖ p) in closed form, where there is one."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, OneHotCategorical, kl_divergence
from torch.nn.functional import softplus

COINS, CHOICES = Bernoulli, (Categorical, OneHotCategorical)


def closed_kl(q: Any, p: Any) -> Tensor | None:
    """KL(q ‖ p), over batch shapes that broadcast (torch's own do not for every family); None where it has none.

    Of discrete families it is the sum over values of q (log q − log p) with the log-probabilities of torch, which are
    bounded: torch's closed form is infinite where p gives 0 to a value that q may take, and no gradient leads away.

    Example:
        >>> import pyro.distributions as dist
        >>> closed_kl(dist.Normal(1.0, 1.0), dist.Normal(torch.zeros(2), 1.0))
        tensor([0.5000, 0.5000])
        >>> round(closed_kl(dist.Bernoulli(0.5), dist.Bernoulli(0.0)).item(), 2)
        7.28
    """
    try:
        shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
        value = _kl(*(d if d.batch_shape == shape else d.expand(shape) for d in (q, p)))
    except NotImplementedError:
        return None
    # A number, of distributions that are masked as a whole.
    return value if isinstance(value, Tensor) else torch.full(shape, float(value))


def _kl(q: Any, p: Any) -> Any:
    if isinstance(q, Independent) and isinstance(p, Independent):
        count = q.reinterpreted_batch_ndims
        inner = _kl(q.base_dist, p.base_dist) if count == p.reinterpreted_batch_ndims else None
        if isinstance(inner, Tensor):
            return inner.flatten(-count).sum(-1) if count else inner
    elif isinstance(q, COINS) and isinstance(p, COINS):
        return q.probs * (q.logits - p.logits) + softplus(p.logits) - softplus(q.logits)
    elif isinstance(q, CHOICES) and isinstance(p, CHOICES) and type(q) is type(p) and q.logits.shape == p.logits.shape:
        return (q.probs * (q.logits - p.logits)).sum(-1)
    return kl_divergence(q, p)
