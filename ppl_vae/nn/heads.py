"""Features to a distribution over a latent vector, and real numbers to positive ones."""

from collections.abc import Callable, Sequence
from math import expm1, log, prod
from typing import Any, Literal, get_args

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppl_vae.errors import one_of
from ppl_vae.nn.flows import Autoregressive, Coupling
from ppl_vae.nn.mlp import check_layers, check_sizes

FlowName = Literal["iaf", "coupling"]

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
        check_sizes(features=features, dim=dim)
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
        check_sizes(features=features, dim=dim)
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
        check_sizes(features=features, dim=dim)
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
        check_sizes(features=features, dim=dim)
        self.linear = nn.Linear(features, 2 * dim)

    def forward(self, h: Tensor) -> Any:
        """Features `(..., features)` to a distribution over positive `(dim,)`, by concentration and mean."""
        concentration, mean = positive(self.linear(h), 1e-3).chunk(2, -1)
        return dist.Gamma(concentration, concentration / mean).to_event(1)


class Point(nn.Module):
    r"""$q(z \mid h) = \delta(z - \mu(h))$: one code, no distribution.

    Args:
        features: size of h.
        dim: size of z.
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        check_sizes(features=features, dim=dim)
        self.linear = nn.Linear(features, dim)

    def forward(self, h: Tensor) -> Any:
        """Features `(..., features)` to the point `(dim,)`."""
        return dist.Delta(self.linear(h), event_dim=1)


DECISIVE = 3.0
"""Factor of a discrete code's first logits: where all values are as likely, the decoder learns to do without it."""


class Code(nn.Module):
    """Discrete z, from logits that are linear in h.

    Args:
        features: size of h.
        shape: of the logits of one datum.
        distribution: from logits `(..., *shape)` to a distribution over z.
    """

    def __init__(self, features: int, shape: Sequence[int], distribution: Callable[[Tensor], Any]) -> None:
        super().__init__()
        check_sizes(features=features, shape=shape)
        self.shape, self.distribution = tuple(shape), distribution
        self.linear = nn.Linear(features, prod(self.shape))
        with torch.no_grad():
            self.linear.weight.mul_(DECISIVE)

    def forward(self, h: Tensor) -> Any:
        """Features `(..., features)` to a distribution over z."""
        return self.distribution(self.linear(h).unflatten(-1, self.shape))


class Flow(nn.Module):
    r"""$z = f_T \circ \dots \circ f_1(\mu(h) + \sigma(h)\,\epsilon)$ with flows $f_t(\cdot; h)$.

    Args:
        features: size of h.
        dim: size of z.
        flow: `iaf` (inverse autoregressive) or `coupling` (affine).
        layers: number of flows; neighbours run through z in opposite order.
        hidden: widths of the hidden layers of each flow's network.
    """

    def __init__(
        self, features: int, dim: int, flow: FlowName = "iaf", layers: int = 2, hidden: Sequence[int] = (64,)
    ) -> None:
        super().__init__()
        one_of("flow", flow, get_args(FlowName))
        check_layers(layers)
        self.base = DiagonalNormal(features, dim)
        self.flows = nn.ModuleList(
            Autoregressive(dim, features, hidden, reverse=t % 2 == 1)
            if flow == "iaf"
            else Coupling(dim, features, hidden, flip=t % 2 == 1)
            for t in range(layers)
        )

    def forward(self, h: Tensor) -> Any:
        """Features `(..., features)` to a distribution over `(dim,)`."""
        return dist.TransformedDistribution(self.base(h), [flow(h) for flow in self.flows])


def inverse_softplus(value: float) -> float:
    """The number whose softplus is `value`."""
    return value if value > 30 else log(expm1(value))
