"""The deterministic autoencoder: the VAE's networks without its noise."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.conditionals.auto import likelihood_for
from ppl_vae.conditionals.flat import Flat
from ppl_vae.conditionals.mlp import Activation, Decoder
from ppl_vae.conditionals.spec import DataSpec


class Autoencoder(nn.Module):
    r"""$p(x \mid f(z))$ with a flat prior on z: with `guide=deterministic`, the bound is the reconstruction alone.

    It learns codes, not a distribution over them: generating from it is refused.

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        hidden: widths of the decoder's hidden layers, from z to x.
        activation: after each of them.

    Reference:
        Hinton and Salakhutdinov (2006), Reducing the Dimensionality of Data with Neural Networks, Science 313
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.likelihood = likelihood or likelihood_for(spec)
        self.decoder = Decoder(spec, self.likelihood, latent_dim, hidden, activation)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`, observed at site x; codes `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", Flat(self.latent_dim))
            pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)
