"""Sparse positive latents."""

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.conditionals.auto import likelihood_for
from ppl_vae.conditionals.mlp import Activation, Decoder
from ppl_vae.conditionals.spec import DataSpec


class GammaVAE(nn.Module):
    r"""$p(x, z) = \mathrm{Gamma}(z; a, b)\, p(x \mid f(z))$ with independent components.

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        hidden: widths of the decoder's hidden layers, from z to x.
        activation: after each of them.
        concentration: a of the prior; below 1 most components are near 0.
        rate: b of the prior.
    """

    concentration: Tensor
    rate: Tensor

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        concentration: float = 1.0,
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.likelihood = likelihood or likelihood_for(spec)
        self.register_buffer("concentration", torch.full((latent_dim,), concentration), persistent=False)
        self.register_buffer("rate", torch.full((latent_dim,), rate), persistent=False)
        self.decoder = Decoder(spec, self.likelihood, latent_dim, hidden, activation)

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`, observed at site x; positive latents `(data, latent_dim)` at site z."""
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Gamma(self.concentration, self.rate).to_event(1))
            pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)
