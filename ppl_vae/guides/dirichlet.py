"""The Dirichlet guide."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.conditionals.heads import Dirichlet
from ppl_vae.conditionals.mlp import Activation, Encoder
from ppl_vae.conditionals.spec import DataSpec


class DirichletAmortized(nn.Module):
    r"""$q(z \mid x) = \mathrm{Dirichlet}(a(x))$, reparameterized implicitly.

    Args:
        spec: the dataset's spec.
        model: gives the size of z (`model.latent_dim`).
        hidden: widths of the encoder's hidden layers, from x to z.
        activation: after each of them.

    Reference:
        Figurnov, Mohamed and Mnih (2018), Implicit Reparameterization Gradients, https://arxiv.org/abs/1805.08498
    """

    def __init__(
        self, spec: DataSpec, model: Any, hidden: Sequence[int] = (256,), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.encoder = Encoder(spec, hidden, activation)
        self.z = Dirichlet(self.encoder.out_features, model.latent_dim)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents on the simplex `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.z(self.encoder(x)))
