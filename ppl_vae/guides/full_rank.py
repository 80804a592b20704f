"""The normal guide with correlated latents."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.conditionals.heads import FullRankNormal
from ppl_vae.conditionals.mlp import Activation, Encoder
from ppl_vae.conditionals.spec import DataSpec


class FullRank(nn.Module):
    r"""$q(z \mid x) = \mathrm{Normal}(z; \mu(x), L(x) L(x)^\top)$ with a triangular L.

    Args:
        spec: the dataset's spec.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
    """

    def __init__(
        self, spec: DataSpec, model: Any, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden, activation)
        self.z = FullRankNormal(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x)))
