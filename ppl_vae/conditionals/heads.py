"""Features to a distribution over a latent vector."""

from typing import Any

import pyro.distributions as dist
import torch.nn.functional as F
from torch import Tensor, nn

MIN_SCALE = 1e-6
"""Added to every scale, lest float32 round one to zero: part of the parameterization, not a clip."""


def positive(raw: Tensor, floor: float = MIN_SCALE) -> Tensor:
    """A real number as a positive one: softplus plus a floor."""
    return F.softplus(raw) + floor


class DiagonalNormal(nn.Module):
    r"""$q(z \mid h) = \mathrm{Normal}(\mu(h), \sigma(h))$ with independent components.

    Args:
        features: size of h.
        dim: size of z.

    Example:
        >>> import torch
        >>> DiagonalNormal(16, 3)(torch.zeros(7, 5, 16)).event_shape
        torch.Size([3])
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * dim)

    def forward(self, h: Tensor) -> Any:
        """Features `(..., features)` to a distribution over `(dim,)`."""
        loc, raw = self.linear(h).chunk(2, -1)
        return dist.Normal(loc, positive(raw)).to_event(1)
