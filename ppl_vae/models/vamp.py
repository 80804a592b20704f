"""The VAE with a variational mixture of posteriors as prior."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.models.latent import Latent, MakesDecoder
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.heads import DiagonalNormal
from ppl_vae.nn.mlp import Activation, Decoder, Encoder


class Vamp(Latent):
    r"""$p(z) = \frac1K \sum_k q(z \mid u_k)$ with learned pseudo-inputs $u_k$; the guide is `guide=vamp`.

    The encoder belongs to the model, whose prior it makes up, and the guide shares it.

    Args:
        spec: the dataset's spec.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_dim: size of z.
        hidden: widths of the decoder's hidden layers, from z to x; the encoder has them from x to z, reversed.
        activation: after each of them.
        components: number of pseudo-inputs.
        decoder: f, as of `Latent`; None takes the fully connected one.

    References:
        Tomczak and Welling (2018), VAE with a VampPrior, https://arxiv.org/abs/1705.07120
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 8,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        components: int = 50,
        decoder: MakesDecoder | None = None,
    ) -> None:
        decoder = decoder or partial(Decoder, hidden=hidden, activation=activation)
        super().__init__(spec, likelihood, latent_dim, lambda _: self.mixture, decoder)
        self.encoder = Encoder(spec, list(hidden)[::-1], activation)
        self.z = DiagonalNormal(self.encoder.out_features, latent_dim)
        # Pseudo-inputs live where the encoder's first layer does, after rescaling, near the training mean.
        start = torch.zeros(self.encoder.features.out_features)
        if spec.mean is not None:
            start = self.encoder.features(spec.mean.float()).detach()
        self.pseudo_inputs = nn.Parameter(start + 0.1 * torch.randn(components, len(start)))

    def posterior(self, x: Tensor) -> Any:
        """q(z | x) for data `(data, *shape)`."""
        return self.z(self.encoder(x))

    def mixture(self) -> Any:
        """The prior, a mixture of posteriors, over `(latent_dim,)`."""
        component = self.z(self.encoder.net(self.pseudo_inputs))
        uniform = torch.zeros_like(self.pseudo_inputs[:, 0])
        return dist.MixtureSameFamily(dist.Categorical(logits=uniform), component)
