"""The guide of the conditional VAE."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.conditionals.heads import DiagonalNormal
from ppl_vae.conditionals.labels import Labels
from ppl_vae.conditionals.mlp import Activation, Encoder
from ppl_vae.conditionals.spec import DataSpec


class ConditionalAmortized(nn.Module):
    r"""$q(z \mid x, y) = \mathrm{Normal}(z; \mu(x, y), \sigma(x, y))$.

    Args:
        spec: the dataset's spec, with x and y.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.

    Raises:
        DataError: batches hold x alone.
    """

    def __init__(
        self, spec: DataSpec, model: Any, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.labels = Labels(spec)
        self.encoder = Encoder(spec, hidden, activation, extra=self.labels.out_features)
        self.z = DiagonalNormal(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, y: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`, labels `(data, …)`; latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x, self.labels(y))))
