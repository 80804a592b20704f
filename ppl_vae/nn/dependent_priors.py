"""Priors whose elements depend on each other in turn, or on what is given beside x."""

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.nn.autoregressive import AutoregressiveDistribution
from ppl_vae.nn.flows import MADE, start_at_identity
from ppl_vae.nn.heads import DiagonalNormal, inverse_softplus, positive
from ppl_vae.nn.mlp import MLP, Activation, check_sizes


class AutoregressivePrior(nn.Module):
    r"""$p(z) = \prod_d \sum_k \pi_{dk} \mathrm{Normal}(z_d; \mu_{dk}, \sigma_{dk})$, where π, μ, σ are of $z_{<d}$.

    The density takes one pass of a masked network, a draw one pass per element.

    Args:
        dim: size of z.
        components: normals that each element is a mixture of.
        hidden: widths of the masked network's hidden layers.

    References:
        Germain, Gregor, Murray and Larochelle (2015), MADE: Masked Autoencoder for Distribution Estimation,
            https://arxiv.org/abs/1502.03509

    Example:
        >>> prior = AutoregressivePrior(3, components=2)()
        >>> prior.sample((5,)).shape, prior.log_prob(torch.zeros(5, 3)).shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    nothing: Tensor

    def __init__(self, dim: int, components: int = 4, hidden: Sequence[int] = (64,)) -> None:
        super().__init__()
        check_sizes(dim=dim, components=components)
        self.shape, self.num_params, self.components = (dim,), 3 * components, components
        self.net = MADE(dim, hidden=hidden, outputs=self.num_params)
        start_at_identity(self.net.layers)
        with torch.no_grad():  # nearly standard normal, its components apart, lest they learn alike
            last: Any = self.net.layers[-1]
            _, loc, raw = last.bias.view(3, components, dim).unbind(0)
            loc.copy_(torch.linspace(-0.5, 0.5, components).unsqueeze(-1).expand_as(loc) if components > 1 else loc)
            raw.fill_(inverse_softplus(1.0))
        self.register_buffer("nothing", torch.zeros(0), persistent=False)  # carries device and dtype

    def likelihood(self, params: Tensor) -> Any:
        """Parameters `(..., 3 * components, dim)` to independent mixtures over `(dim,)`."""
        logits, loc, raw = (part.mT for part in params.unflatten(-2, (3, self.components)).unbind(-3))
        elements = dist.MixtureSameFamily(dist.Categorical(logits=logits), dist.Normal(loc, positive(raw)))
        return elements.to_event(1)

    def elements(self, z: Tensor, h: Tensor) -> Any:
        """The distribution of each element given those before it in z `(..., dim)`; h has no features."""
        return self.likelihood(self.net(z, h).unflatten(-1, (self.num_params, *self.shape)))

    def forward(self) -> AutoregressiveDistribution:
        """The distribution over `(dim,)`."""
        return AutoregressiveDistribution(self, self.nothing)


class ConditionalPrior(nn.Module):
    r"""$p(z \mid y) = \mathrm{Normal}(z; \mu(y), \sigma(y))$ with independent components, for `model=conditional`.

    Args:
        dim: size of z.
        given: features of y, which the model says.
        hidden: widths of the network's hidden layers.
        activation: after each of them.

    References:
        Sohn, Lee and Yan (2015), Learning Structured Output Representation using Deep Conditional Generative Models,
            https://papers.nips.cc/paper/2015/hash/8d55a249e6baa5c06772297520da2051-Abstract.html

    Example:
        >>> ConditionalPrior(3, given=10)(torch.zeros(5, 10)).event_shape
        torch.Size([3])
    """

    def __init__(self, dim: int, given: int, hidden: Sequence[int] = (64,), activation: Activation = "relu") -> None:
        super().__init__()
        check_sizes(given=given)
        self.given = given
        self.net = MLP(given, hidden=hidden, activation=activation)
        self.z = DiagonalNormal(self.net.out_features, dim)

    def forward(self, y: Tensor) -> Any:
        """Features `(..., given)` to a distribution over `(dim,)`."""
        return self.z(self.net(y))
