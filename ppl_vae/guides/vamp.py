"""The guide that shares its encoder with the model's VampPrior."""

from typing import Any

import pyro
from torch import Tensor, nn


class VampPosterior(nn.Module):
    r"""$q(z \mid x)$ of `model=vamp`, by the very networks of which its prior is made.

    Args:
        model: gives the networks (`model.encoder`, `model.z`).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.z = model.z

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x)))
