"""The VAE with an autoregressive decoder."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.conditionals.auto import likelihood_for
from ppl_vae.conditionals.autoregressive import AutoregressiveDecoder
from ppl_vae.conditionals.priors import PriorName, prior_for
from ppl_vae.conditionals.spec import DataSpec


class AutoregressiveVAE(nn.Module):
    r"""$p(x, z) = p(z) \prod_d p(x_d \mid x_{<d}, z)$: strong enough to do without z, so watch its KL.

    Args:
        spec: the dataset's spec.
        likelihood: of one element of x; None takes the one that fits the data.
        latent_dim: size of z.
        hidden: widths of the masked network's hidden layers.
        prior: p(z): `normal` (standard), `mixture` or `flow` (both learned).

    Reference:
        Chen et al. (2017), Variational Lossy Autoencoder, https://arxiv.org/abs/1611.02731
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        hidden: Sequence[int] = (256,),
        prior: PriorName = "normal",
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.likelihood = likelihood or likelihood_for(spec)
        self.prior = prior_for(prior, latent_dim)
        self.decoder = AutoregressiveDecoder(spec, self.likelihood, latent_dim, hidden)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`, observed at site x; latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.decoder(z), obs=x)
