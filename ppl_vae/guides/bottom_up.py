"""Inference from x upwards for a hierarchical model."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.conditionals.features import Features
from ppl_vae.conditionals.heads import DiagonalNormal
from ppl_vae.conditionals.mlp import MLP, Activation
from ppl_vae.conditionals.spec import DataSpec


class BottomUp(nn.Module):
    r"""$q(z_1, …, z_L \mid x) = q(z_1 \mid x) \prod_{l>1} q(z_l \mid z_{l-1})$, all normal.

    Args:
        spec: the dataset's spec.
        model: gives the sizes of z1, z2, … (`model.latent_dim`).
        hidden: widths of the networks between x and z1, z1 and z2, …
        depth: number of hidden layers in each of them.
        activation: after each hidden layer.

    Reference:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders,
        https://arxiv.org/abs/1509.00519
    """

    def __init__(
        self,
        spec: DataSpec,
        model: Any,
        hidden: Sequence[int] = (256, 128),
        depth: int = 1,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.x = Features(spec)
        below = [self.x.out_features, *model.latent_dim]
        self.layers = nn.ModuleList(
            nn.Sequential(MLP(features, None, [width] * depth, activation), DiagonalNormal(width, dim))
            for features, width, dim in zip(below, hidden, model.latent_dim, strict=False)
        )

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim[l])` at sites z1, z2 and so on."""
        h = self.x(x)
        with pyro.plate("data", x.shape[0]):
            for level, layer in enumerate(self.layers, start=1):
                h = pyro.sample(f"z{level}", layer(h))
