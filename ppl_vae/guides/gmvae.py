"""The guide of the Gaussian mixture VAE."""

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ppl_vae.nn.features import DataSpec, one_hot
from ppl_vae.nn.heads import DiagonalNormal
from ppl_vae.nn.mlp import MLP, Activation, Encoder, join


class MixtureAmortized(nn.Module):
    r"""$q(y, z \mid x) = q(y \mid x)\, q(z \mid x, y)$ with y categorical, z normal. y is small: it is enumerated.

    Args:
        spec: the dataset's spec.
        model: gives the sizes of z and y (`model.latent_dim`, `model.components`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.
    """

    def __init__(
        self, spec: DataSpec, model: Any, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden, activation)
        self.components, features = model.components, self.encoder.out_features
        self.y = nn.Linear(features, self.components)
        self.z = nn.Sequential(
            MLP(features + self.components, None, [64], activation), DiagonalNormal(64, model.latent_dim)
        )

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; components `(data,)` at y, latents `(data, latent_dim)` at z."""
        h = self.encoder(x)
        with pyro.plate("data", x.shape[0]):
            y = pyro.sample("y", dist.Categorical(logits=self.y(h)))
            pyro.sample("z", self.z(join(h, one_hot(y, self.components).to(h.dtype))))
