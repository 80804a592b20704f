"""Priors over a latent vector: modules without input whose forward returns a distribution."""

from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.nn.flows import Coupling
from ppl_vae.nn.heads import inverse_softplus, positive

PriorName = Literal["normal", "mixture", "flow"]


class StandardNormal(nn.Module):
    """Independent standard normal components.

    Args:
        dim: size of z.
    """

    zero: Tensor
    one: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
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
    """

    def __init__(self, dim: int, layers: int = 4, hidden: int = 64) -> None:
        super().__init__()
        self.base = StandardNormal(dim)
        self.layers = nn.ModuleList(Coupling(dim, hidden=[hidden], flip=i % 2 == 1) for i in range(layers))

    def forward(self) -> Any:
        """The distribution over `(dim,)`."""
        return dist.TransformedDistribution(self.base(), [layer() for layer in self.layers])


def prior_for(name: PriorName, dim: int) -> nn.Module:
    """The prior of this name over `dim` components."""
    kinds: dict[str, Any] = {"normal": StandardNormal, "mixture": MixturePrior, "flow": FlowPrior}
    return kinds[name](dim)
