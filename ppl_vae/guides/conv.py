"""The diagonal normal guide with a convolutional encoder."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.conditionals.conv import ConvEncoder
from ppl_vae.conditionals.heads import DiagonalNormal
from ppl_vae.conditionals.mlp import Activation
from ppl_vae.conditionals.spec import DataSpec


class ConvAmortized(nn.Module):
    r"""$q(z \mid x) = \mathrm{Normal}(z; \mu(x), \sigma(x))$ with convolutions in μ and σ.

    Args:
        spec: the dataset's spec; x is (C, H, W).
        model: gives the size of z (`model.latent_dim`).
        channels: of each convolution, from x to z.
        hidden: widths of the fully connected layers that follow.
        activation: after each layer.
        residual: add a residual block after each convolution.

    Raises:
        DataError: x is no image.
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        channels: Sequence[int] = (32, 64),
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = ConvEncoder(spec, channels, hidden, activation, residual)
        self.z = DiagonalNormal(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Images `(data, C, H, W)`; latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x)))
