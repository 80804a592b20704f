"""The guide of a hierarchy of images: a pass up from x, then the model's own way down."""

from typing import Any

import pyro
import torch
from torch import Tensor, nn

from ppl_vae.nn.conv import Residual, image_shape, plain
from ppl_vae.nn.features import DataSpec, Rescale
from ppl_vae.nn.mlp import Activation, act, check_sizes
from ppl_vae.nn.top_down import at_zero, on_images, relative


class ConvLadder(nn.Module):
    r"""$q(z_1, …, z_L \mid x) = \prod_l q(z_l \mid z_{>l}, d_l(x))$, each relative to the model's $p(z_l \mid z_{>l})$.

    Convolutions upwards give $d_1(x), d_2(d_1), …$; on the way down the guide has the state of the model itself, by
    its networks, and says of each group how it differs from its prior: it starts at the prior, with a KL of zero.

    Args:
        spec: the dataset's spec; x is (C, H, W) with any H and W.
        model: gives the groups of latents (`model.groups`), which the guide shares.
        channels: of d1, d2, …
        activation: in the residual blocks.

    Raises:
        DataError: x is no image.

    References:
        Vahdat and Kautz (2020), NVAE: A Deep Hierarchical Variational Autoencoder, https://arxiv.org/abs/2007.03898
    """

    def __init__(self, spec: DataSpec, model: Any, channels: int = 32, activation: Activation = "silu") -> None:
        super().__init__()
        check_sizes(channels=channels)
        self.groups = model.groups
        self.rescale = Rescale(spec)
        state = len(self.groups.top)
        ins = [image_shape(spec)[0]] + [channels] * (len(self.groups.each) - 1)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, channels, 3, stride=2, padding=1), Residual(channels, activation))
            for width in ins
        )
        self.change = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(state + channels, channels, 3, padding=1),
                Residual(channels, activation),
                act(plain(activation)),
                at_zero(channels, group.z.in_channels),
            )
            for group in self.groups.each
        )

    def forward(self, x: Tensor, *_: Any) -> None:
        """Data `(data, C, H, W)`; latents `(data, latent_channels[l], h, w)` at sites z1, z2 and so on, top first."""
        d = [self.rescale(x)]
        for net in self.up:
            d.append(on_images(net, d[-1]))
        h = self.groups.top
        with pyro.plate("data", x.shape[0]):
            for level in range(len(self.up), 0, -1):
                group, up = self.groups.each[level - 1], d[level]
                lead = torch.broadcast_shapes(h.shape[:-3], up.shape[:-3])
                both = torch.cat([t.expand(*lead, *t.shape[-3:]) for t in (h, up)], -3)
                z = pyro.sample(f"z{level}", relative(group.p(h), on_images(self.change[level - 1], both)))
                if level > 1:
                    h = group(h, z)
