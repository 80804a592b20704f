"""Features to a distribution over a latent vector, and real numbers to positive ones."""

from math import expm1, log
from typing import Any

import pyro.distributions as dist
import torch
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


class FullRankNormal(nn.Module):
    r"""$q(z \mid h) = \mathrm{Normal}(\mu(h), L(h) L(h)^\top)$ with L lower triangular, its diagonal positive.

    Args:
        features: size of h.
        dim: size of z.
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.linear = nn.Linear(features, dim * (dim + 1))
        # Start near a diagonal: random correlations of order one make a poor first guess.
        with torch.no_grad():
            self.linear.weight[dim:].mul_(0.1)

    def forward(self, h: Tensor) -> Any:
        """Features `(..., features)` to a distribution over `(dim,)`."""
        loc, raw = self.linear(h).split([self.dim, self.dim**2], -1)
        raw = raw.unflatten(-1, (self.dim, self.dim))
        scale_tril = raw.tril(-1) + positive(raw.diagonal(dim1=-2, dim2=-1)).diag_embed()
        return dist.MultivariateNormal(loc, scale_tril=scale_tril)


class Dirichlet(nn.Module):
    r"""$q(z \mid h) = \mathrm{Dirichlet}(a(h))$, reparameterized implicitly.

    Args:
        features: size of h.
        dim: number of components of z.
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, dim)

    def forward(self, h: Tensor) -> Any:
        """Features `(..., features)` to a distribution over the simplex `(dim,)`."""
        return dist.Dirichlet(positive(self.linear(h), 1e-3))


class Gamma(nn.Module):
    r"""$q(z \mid h) = \mathrm{Gamma}(a(h), b(h))$ with independent components, reparameterized implicitly.

    Args:
        features: size of h.
        dim: size of z.
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * dim)

    def forward(self, h: Tensor) -> Any:
        """Features `(..., features)` to a distribution over positive `(dim,)`, by concentration and mean."""
        concentration, mean = positive(self.linear(h), 1e-3).chunk(2, -1)
        return dist.Gamma(concentration, concentration / mean).to_event(1)


def inverse_softplus(value: float) -> float:
    """The number whose softplus is `value`."""
    return value if value > 30 else log(expm1(value))
