"""Word counts of documents of different lengths."""

from typing import Any, Self

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.distributions.elementwise import together
from ppl_vae.errors import ArgumentError
from ppl_vae.kinds import shown


class Multinomial(TorchDistribution):
    r"""$\log p(x) = \log n! - \sum_v \log x_v! + \sum_v x_v \log \pi_v$, n its own for every datum.

    torch's has one n for all.

    Args:
        logits: unnormalized log π, `(..., words)`.
        total_count: n, `(...)`.

    Example:
        >>> import torch
        >>> px = Multinomial(torch.zeros(2, 3), torch.tensor([5.0, 100.0]))
        >>> px.sample().sum(-1)
        tensor([  5., 100.])
    """

    arg_constraints: Any = {}  # noqa: RUF012 - torch's own form
    support = constraints.independent(constraints.nonnegative_integer, 1)

    def __init__(self, logits: Tensor, total_count: Tensor, validate_args: bool | None = None) -> None:
        if not (isinstance(logits, Tensor) and logits.ndim and logits.shape[-1]):
            raise ArgumentError(f"Got logits={shown(logits)}, expected a Tensor (..., words).")
        _, self.total_count = together(validate_args, logits=logits[..., 0], total_count=total_count)
        batch_shape = self.total_count.shape
        self.logits = logits.expand(*batch_shape, logits.shape[-1])
        super().__init__(batch_shape, logits.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same distribution with a larger batch shape."""
        batch_shape = torch.Size(batch_shape)
        logits = self.logits.expand(*batch_shape, *self.event_shape)
        return type(self)(logits, self.total_count.expand(batch_shape), validate_args=self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability in nats, of counts that add up to `total_count`."""
        if self._validate_args:
            self._validate_sample(value)
        x = value.to(self.logits.dtype)
        orders = torch.lgamma(x.sum(-1) + 1) - torch.lgamma(x + 1).sum(-1)
        return orders + (x * self.logits.log_softmax(-1)).sum(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - torch's own signature
        """Counts `(..., words)` of as many draws as `total_count` says."""
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            n = self.total_count.expand(shape[:-1]).reshape(-1)
            probs = self.logits.softmax(-1).expand(shape).reshape(-1, shape[-1])
            longest = max(int(n.max()), 1)
            words = torch.multinomial(probs, longest, replacement=True)
            counted = (torch.arange(longest, device=n.device) < n.unsqueeze(-1)).to(probs.dtype)
            return torch.zeros_like(probs).scatter_add(-1, words, counted).reshape(shape)

    @property
    def mean(self) -> Tensor:
        """Expected counts n π."""
        return self.total_count.unsqueeze(-1) * self.logits.softmax(-1)
