"""Autoregressive likelihood: each element of x sees those before it, and the latent."""

from collections.abc import Sequence
from math import prod
from typing import Any, Self

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn

from ppl_vae.nn.features import DataSpec, Features
from ppl_vae.nn.flows import MADE
from ppl_vae.nn.mlp import start_at_mean


class AutoregressiveDecoder(nn.Module):
    r"""$p(x \mid h) = \prod_d p(x_d \mid x_{<d}, h)$, each factor from the likelihood, in the order of memory.

    The density takes one pass of a masked network, a draw one pass per element.

    Args:
        spec: the dataset's spec.
        likelihood: of one element; its `num_params` tell what the network gives.
        features: size of h, e.g. the latent dimension.
        hidden: widths of the masked network's hidden layers.

    References:
        Germain, Gregor, Murray and Larochelle (2015), MADE: Masked Autoencoder for Distribution Estimation,
            https://arxiv.org/abs/1502.03509
    """

    def __init__(self, spec: DataSpec, likelihood: Any, features: int, hidden: Sequence[int] = (256,)) -> None:
        super().__init__()
        self.likelihood, self.features = likelihood, Features(spec)
        self.shape, self.num_params = tuple(spec.shape), likelihood.num_params
        self.net = MADE(prod(self.shape), features, hidden, outputs=self.num_params)
        start_at_mean(self.net.layers[-1], likelihood)

    def elements(self, x: Tensor, h: Tensor) -> Any:
        """The distribution of each element given those before it in x `(..., *shape)` and h `(..., features)`."""
        params = self.net(self.features(x), h)
        return self.likelihood(params.unflatten(-1, (self.num_params, *self.shape)))

    def forward(self, h: Tensor) -> "AutoregressiveDistribution":
        """Features `(..., features)` to a distribution over `(*shape)`."""
        return AutoregressiveDistribution(self, h)


class AutoregressiveDistribution(TorchDistribution):
    """The distribution that an `AutoregressiveDecoder` gives for one h.

    Args:
        decoder: gives the distribution of each element, `elements(value, h)`; it has `shape`, `num_params` and
            `likelihood`, from parameters to independent elements.
        h: features `(..., features)`.
    """

    arg_constraints: Any = {}  # noqa: RUF012 - torch's own form

    def __init__(self, decoder: Any, h: Tensor) -> None:
        self.decoder, self.h = decoder, h
        super().__init__(h.shape[:-1], torch.Size(decoder.shape), validate_args=False)

    @property
    def support(self) -> Any:
        """That of the likelihood."""
        zeros = self.h.new_zeros(self.decoder.num_params, *self.decoder.shape)
        return self.decoder.likelihood(zeros).support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same distribution with a larger batch shape."""
        return type(self)(self.decoder, self.h.expand(*batch_shape, self.h.shape[-1]))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of `value` in nats."""
        return self.decoder.elements(value, self.h).log_prob(value)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - torch's own signature
        """A draw, element by element."""
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.batch_shape
            h = self.h.expand(*shape, self.h.shape[-1])
            x = h.new_zeros(*shape, prod(self.event_shape))
            for d in range(x.shape[-1]):
                drawn = self.decoder.elements(x.reshape(*shape, *self.event_shape), h).sample()
                x[..., d] = drawn.reshape(x.shape)[..., d]
            return x.reshape(*shape, *self.event_shape)
