"""A mixture of Gaussians in latent space, its component a latent of its own."""

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.likelihoods.known import of_known
from ppl_vae.models.latent import likelihood_of
from ppl_vae.nn.features import DataSpec, arguments_of, has_missing
from ppl_vae.nn.heads import inverse_softplus, positive
from ppl_vae.nn.mlp import Activation, Decoder, check_sizes


class GMVAE(nn.Module):
    r"""$p(x, z, y) = \pi_y\, \mathrm{Normal}(z; \mu_y, \sigma_y)\, p(x \mid f(z))$: unsupervised clustering by y.

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        components: of the mixture.
        hidden: widths of the decoder's hidden layers, from z to x.
        activation: after each of them.

    References:
        Jiang et al. (2017), Variational Deep Embedding: An Unsupervised and Generative Approach to Clustering,
            https://arxiv.org/abs/1611.05148
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        components: int = 10,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.data_fields = arguments_of(spec)
        check_sizes(latent_dim=latent_dim, components=components)
        self.latent_dim, self.components = latent_dim, components
        self.likelihood = likelihood_of(spec, likelihood)
        self.missing = has_missing(spec)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, latent_dim))
        self.raw_scale = nn.Parameter(torch.full((components, latent_dim), inverse_softplus(1.0)))
        self.decoder: nn.Module = Decoder(spec, self.likelihood, latent_dim, hidden, activation)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`, observed at site x; components `(data,)` at y, latents `(data, latent_dim)` at z."""
        with pyro.plate("data", x.shape[0]):
            y = pyro.sample("y", dist.Categorical(logits=self.logits))
            z = pyro.sample("z", dist.Normal(self.loc[y], positive(self.raw_scale)[y]).to_event(1))
            px = self.likelihood(self.decode(z, y))
            pyro.sample("x", of_known(px, x) if self.missing else px, obs=x)

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        """Latents `(..., latent_dim)` and components `(...)` to the likelihood's parameters; y acts through z alone."""
        params: Tensor = self.decoder(z)
        return params
