"""The variational autoencoder with a convolutional decoder."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.conditionals.auto import likelihood_for
from ppl_vae.conditionals.conv import ConvDecoder
from ppl_vae.conditionals.mlp import Activation
from ppl_vae.conditionals.priors import PriorName, prior_for
from ppl_vae.conditionals.spec import DataSpec


class ConvVAE(nn.Module):
    r"""$p(x, z) = p(z)\, p(x \mid f(z))$ with transposed convolutions in f, for images of any size.

    Args:
        spec: the dataset's spec; x is (C, H, W).
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        channels: of the input of each transposed convolution, from z to x.
        hidden: widths of the fully connected layers before them.
        activation: after each layer.
        residual: add a residual block before each transposed convolution.
        prior: p(z): `normal` (standard), `mixture` or `flow` (both learned).

    Raises:
        DataError: x is no image.
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 16,
        channels: Sequence[int] = (64, 32),
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        residual: bool = False,
        prior: PriorName = "normal",
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.likelihood = likelihood or likelihood_for(spec)
        self.prior = prior_for(prior, latent_dim)
        self.decoder = ConvDecoder(spec, self.likelihood, latent_dim, channels, hidden, activation, residual)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Images `(data, C, H, W)`, observed at site x; latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)
