"""The variational autoencoder with fully connected networks."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.conditionals.auto import likelihood_for
from ppl_vae.conditionals.mlp import Activation, Decoder
from ppl_vae.conditionals.priors import PriorName, prior_for
from ppl_vae.conditionals.spec import DataSpec


class VAE(nn.Module):
    r"""$p(x, z) = p(z)\, p(x \mid f(z))$ with a fully connected f.

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        hidden: widths of the decoder's hidden layers, from z to x.
        activation: after each of them.
        prior: p(z): `normal` (standard), `mixture` or `flow` (both learned).

    Reference:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        prior: PriorName = "normal",
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.likelihood = likelihood or likelihood_for(spec)
        self.prior = prior_for(prior, latent_dim)
        self.decoder = Decoder(spec, self.likelihood, latent_dim, hidden, activation)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`, observed at site x; latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)
