"""The diagonal normal guide with a fully connected encoder."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.conditionals.heads import DiagonalNormal
from ppl_vae.conditionals.mlp import Activation, Encoder
from ppl_vae.conditionals.spec import DataSpec


class Amortized(nn.Module):
    r"""$q(z \mid x) = \mathrm{Normal}(z; \mu(x), \sigma(x))$, one network for all data.

    Args:
        spec: the dataset's spec.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.

    Reference:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114
    """

    def __init__(
        self, spec: DataSpec, model: Any, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden, activation)
        self.z = DiagonalNormal(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x)))
