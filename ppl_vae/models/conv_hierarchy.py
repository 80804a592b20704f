"""A small deep hierarchy of images, its latents being pictures themselves."""

from collections.abc import Sequence
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from ppl_vae.likelihoods.known import of_known
from ppl_vae.models.latent import likelihood_of
from ppl_vae.nn.features import DataSpec, arguments_of, has_missing
from ppl_vae.nn.mlp import Activation
from ppl_vae.nn.top_down import TopDownGroups


class ConvHierarchy(nn.Module):
    r"""$p(x, z_1, …, z_L) = p(z_L) \prod_{l<L} p(z_l \mid z_{>l})\, p(x \mid z_{\ge 1})$, each z a small picture.

    A state runs down from the smallest pictures to x: every group of latents is drawn given it and added to it, so
    that each reaches x past all groups below it. At first all priors are standard normal.

    Args:
        spec: the dataset's spec; x is (C, H, W) with any H and W.
        likelihood: p(x | parameters); None takes the one that fits the data.
        latent_channels: of z1 (next to x, half its sides), z2 (a quarter), …, one per group.
        channels: of the state.
        depth: number of residual blocks under each group.
        activation: in them.

    Raises:
        DataError: x is no image.

    References:
        Vahdat and Kautz (2020), NVAE: A Deep Hierarchical Variational Autoencoder, https://arxiv.org/abs/2007.03898
        Child (2021), Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images,
            https://arxiv.org/abs/2011.10650
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_channels: Sequence[int] = (2, 4, 8),
        channels: int = 32,
        depth: int = 1,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.data_fields = arguments_of(spec)
        self.latent_channels = tuple(latent_channels)
        self.likelihood = likelihood_of(spec, likelihood)
        self.missing = has_missing(spec)
        self.out_shape = (self.likelihood.num_params, *spec.shape)
        out = self.likelihood.num_params * spec.shape[0]
        self.groups = TopDownGroups(spec, latent_channels, channels, out, depth, activation)
        start = getattr(self.likelihood, "initial_bias", lambda: None)()
        self.bias = nn.Parameter(torch.zeros(self.out_shape) if start is None else start.float())

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, C, H, W)`, at site x; latents `(data, latent_channels[l], h, w)` at z1, z2 and so on."""
        h: Tensor = self.groups.top
        with pyro.plate("data", x.shape[0]):
            for level in range(len(self.latent_channels), 0, -1):
                group: Any = self.groups.each[level - 1]
                h = group(h, pyro.sample(f"z{level}", group.p(h)))
            params = h.reshape(*h.shape[:-3], *self.out_shape) + self.bias
            px = self.likelihood(params)
            pyro.sample("x", of_known(px, x) if self.missing else px, obs=x)
