"""Priors over a latent vector: modules without input whose forward returns a distribution."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions.transforms import AffineTransform

from ppl_vae.nn.flows import Coupling
from ppl_vae.nn.heads import MIN_SCALE, inverse_softplus, positive
from ppl_vae.nn.mlp import check_layers, check_sizes


class StandardNormal(nn.Module):
    """Independent standard normal components.

    Args:
        dim: size of z.
    """

    zero: Tensor
    one: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        check_sizes(dim=dim)
        self.dim = dim
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # carry device and dtype
        self.register_buffer("one", torch.ones(()), persistent=False)

    def forward(self) -> Any:
        """The distribution over `(dim,)`."""
        return dist.Normal(self.zero, self.one).expand([self.dim]).to_event(1)


class MixturePrior(nn.Module):
    r"""A learned mixture of diagonal normals, $p(z) = \sum_k \pi_k \mathrm{Normal}(z; \mu_k, \sigma_k)$.

    Args:
        dim: size of z.
        components: how many.
    """

    def __init__(self, dim: int, components: int = 32) -> None:
        super().__init__()
        check_sizes(dim=dim, components=components)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, dim))
        self.raw_scale = nn.Parameter(torch.full((components, dim), inverse_softplus(1.0)))

    def forward(self) -> Any:
        """The distribution over `(dim,)`."""
        component = dist.Normal(self.loc, positive(self.raw_scale)).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), component)


class FlowPrior(nn.Module):
    """A standard normal sent through learned coupling layers.

    Args:
        dim: size of z.
        layers: number of coupling layers; neighbours change complementary halves.
        hidden: width of their networks' hidden layer.
        affine: end with a learned shift and scale of each element, for z of any location and size.
    """

    def __init__(self, dim: int, layers: int = 4, hidden: int = 64, affine: bool = False) -> None:
        super().__init__()
        check_layers(layers)
        self.base = StandardNormal(dim)
        self.layers = nn.ModuleList(Coupling(dim, hidden=[hidden], flip=i % 2 == 1) for i in range(layers))
        self.loc = nn.Parameter(torch.zeros(dim)) if affine else None
        self.log_scale = nn.Parameter(torch.zeros(dim)) if affine else None

    def forward(self) -> Any:
        """The distribution over `(dim,)`."""
        transforms = [layer() for layer in self.layers]
        if self.loc is not None and self.log_scale is not None:
            transforms.append(AffineTransform(self.loc, self.log_scale.exp(), event_dim=1))
        return dist.TransformedDistribution(self.base(), transforms)


class FullMixturePrior(nn.Module):
    r"""A mixture of normals with full covariances, $p(z) = \sum_k \pi_k \mathrm{Normal}(z; \mu_k, L_k L_k^\top)$.

    Args:
        dim: size of z.
        components: how many.

    Example:
        >>> prior = FullMixturePrior(2, components=3)
        >>> prior().event_shape, sorted(name for name, _ in prior.named_parameters())
        (torch.Size([2]), ['loc', 'logits', 'raw_tril'])
    """

    def __init__(self, dim: int, components: int = 10) -> None:
        super().__init__()
        check_sizes(dim=dim, components=components)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, dim))
        self.raw_tril = nn.Parameter(torch.eye(dim).mul(inverse_softplus(1.0)).repeat(components, 1, 1))

    def forward(self) -> Any:
        """The distribution over `(dim,)`."""
        diagonal = positive(self.raw_tril.diagonal(dim1=-2, dim2=-1))
        component = dist.MultivariateNormal(self.loc, scale_tril=self.raw_tril.tril(-1) + diagonal.diag_embed())
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), component)

    def set(self, weights: Tensor, loc: Tensor, scale_tril: Tensor) -> None:
        r"""Take the parameters of a mixture: $\pi$ `(components,)`, $\mu$ `(components, dim)`, L, a matrix each."""
        with torch.no_grad():
            diagonal = (scale_tril.diagonal(dim1=-2, dim2=-1) - MIN_SCALE).clamp(min=MIN_SCALE)
            raw = diagonal + torch.log(-torch.expm1(-diagonal))  # the inverse of softplus
            self.logits.copy_(weights.log())
            self.loc.copy_(loc)
            self.raw_tril.copy_(scale_tril.tril(-1) + raw.diag_embed())


class GammaPrior(nn.Module):
    """Independent gamma components, all of one concentration and rate.

    Args:
        dim: size of z.
        concentration: below 1 most components are near 0.
        rate: of each component.
    """

    concentration: Tensor
    rate: Tensor

    def __init__(self, dim: int, concentration: float = 1.0, rate: float = 1.0) -> None:
        super().__init__()
        check_sizes(dim=dim)
        self.register_buffer("concentration", torch.full((dim,), float(concentration)), persistent=False)
        self.register_buffer("rate", torch.full((dim,), float(rate)), persistent=False)

    def forward(self) -> Any:
        """The distribution over positive `(dim,)`."""
        return dist.Gamma(self.concentration, self.rate).to_event(1)
