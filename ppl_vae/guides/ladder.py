"""Guides of a hierarchical model: from x upwards, or in the model's own order."""

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from ppl_vae.nn.features import DataSpec, Features
from ppl_vae.nn.heads import DiagonalNormal
from ppl_vae.nn.mlp import MLP, Activation, join


class BottomUp(nn.Module):
    r"""$q(z_1, …, z_L \mid x) = q(z_1 \mid x) \prod_{l>1} q(z_l \mid z_{l-1})$, all normal.

    Args:
        spec: the dataset's spec.
        model: gives the sizes of z1, z2, … (`model.latent_dim`).
        hidden: widths of the networks between x and z1, z1 and z2, …
        depth: number of hidden layers in each of them.
        activation: after each hidden layer.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519
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


class TopDown(nn.Module):
    r"""$q(z_1, …, z_L \mid x) = q(z_L \mid d_L) \prod_{l<L} q(z_l \mid d_l, z_{l+1})$, all normal.

    First a deterministic pass upwards gives $d_1(x), d_2(d_1), …$; then latents are drawn in the model's order, as
    in a ladder VAE, so that each knows its parents in the model: the KL of each layer is analytic. The ladder's
    sharing of the model's own networks is left out.

    Args:
        spec: the dataset's spec.
        model: gives the sizes of z1, z2, … (`model.latent_dim`).
        hidden: sizes of d1, d2, …, and widths of the networks that give them.
        depth: number of hidden layers in each of them.
        activation: after each hidden layer.

    References:
        Sønderby et al. (2016), Ladder Variational Autoencoders, https://arxiv.org/abs/1602.02282
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
        self.up = nn.ModuleList(
            MLP(features, None, [width] * depth, activation)
            for features, width in zip([self.x.out_features, *hidden], hidden, strict=False)
        )
        above = [*model.latent_dim[1:], 0]
        self.down = nn.ModuleList(
            nn.Sequential(MLP(width + parent, None, [width], activation), DiagonalNormal(width, dim))
            for width, parent, dim in zip(hidden, above, model.latent_dim, strict=True)
        )

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, *shape)`; latents `(data, latent_dim[l])` at sites z1, z2 and so on, top first."""
        d = [self.x(x)]
        for net in self.up:
            d.append(net(d[-1]))
        with pyro.plate("data", x.shape[0]):
            parents: list[Tensor] = []
            for level in range(len(self.down), 0, -1):
                parents = [pyro.sample(f"z{level}", self.down[level - 1](join(d[level], *parents)))]
