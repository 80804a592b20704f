"""Groups of spatial latents in the order of their model: what model and guide of a hierarchy of images share."""

from collections.abc import Callable, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.errors import ArgumentError
from ppl_vae.nn.conv import Residual, halved, image_shape, plain
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.heads import inverse_softplus, positive
from ppl_vae.nn.mlp import Activation, act, check_sizes

ONE = inverse_softplus(1.0)


class Group(nn.Module):
    r"""One group of latents: $p(z \mid h)$, and the state below it, $h' = \mathrm{up}(r(h + W z))$.

    Args:
        channels: of h.
        latent_channels: of z, which has the sides of h.
        out: channels of the state below.
        size: its height and width, twice those of h or one less.
        depth: number of residual blocks of r.
        activation: in them.
    """

    def __init__(
        self,
        channels: int,
        latent_channels: int,
        out: int,
        size: Sequence[int],
        depth: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, latent_channels=latent_channels, depth=depth)
        smooth = plain(activation)
        self.prior = nn.Sequential(Residual(channels, smooth), act(smooth), at_zero(channels, latent_channels))
        self.z = nn.Conv2d(latent_channels, channels, 1)
        even = (1 - size[0] % 2, 1 - size[1] % 2)  # an even side is one longer than 2n - 1
        self.net = nn.Sequential(
            *(Residual(channels, smooth) for _ in range(depth)),
            act(smooth),
            nn.ConvTranspose2d(channels, out, 3, stride=2, padding=1, output_padding=even),
        )

    def p(self, h: Tensor) -> Any:
        """State `(..., channels, height, width)` to a distribution over `(latent_channels, height, width)`."""
        loc, raw = on_images(self.prior, h).chunk(2, -3)
        return dist.Normal(loc, positive(raw + ONE)).to_event(3)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """State and latent, whose leading axes broadcast, to the state of the group below."""
        return on_images(self.net, h + on_images(self.z, z))


class TopDownGroups(nn.Module):
    """Groups of latents from the smallest pictures to the largest; level l has the sides of x, halved l times.

    Args:
        spec: the dataset's spec; its shape is (C, H, W) with any H and W.
        latent_channels: of z1 (next to x), z2, …
        channels: of the state.
        out: channels of the last state, which has the sides of x.
        depth: number of residual blocks under each group.
        activation: in them.

    Raises:
        DataError: x is no image.

    Example:
        >>> from ppl_vae.datasets.spec import Spec
        >>> groups = TopDownGroups(Spec((1, 28, 28), "binary"), latent_channels=[2, 4], channels=8, out=1)
        >>> groups.each[1].p(groups.top).event_shape
        torch.Size([4, 7, 7])
    """

    def __init__(
        self,
        spec: DataSpec,
        latent_channels: Sequence[int],
        channels: int,
        out: int,
        depth: int = 1,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        if not latent_channels:
            raise ArgumentError("Got latent_channels=[], expected one number per group, as in latent_channels=[2,4,8].")
        *sizes, smallest = halved(image_shape(spec)[1:], len(latent_channels))
        outs = [out] + [channels] * (len(latent_channels) - 1)
        self.each = nn.ModuleList(
            Group(channels, dim, below, size, depth, activation)
            for dim, below, size in zip(latent_channels, outs, sizes, strict=True)
        )
        self.top = nn.Parameter(torch.zeros(channels, *smallest))


def relative(p: Any, change: Tensor) -> Any:
    r"""$q = \mathrm{Normal}(\mu_p + \sigma_p a,\; \sigma_p b)$: at zeros p itself, whatever p is.

    Its KL to p depends on the change alone, $\tfrac12 (a^2 + b^2 - 1) - \log b$ for each element.

    Args:
        p: independent normals over `(channels, height, width)`.
        change: a and b, real numbers `(..., 2 channels, height, width)`.

    References:
        Vahdat and Kautz (2020), NVAE: A Deep Hierarchical Variational Autoencoder, https://arxiv.org/abs/2007.03898
    """
    loc, raw = change.chunk(2, -3)
    base = p.base_dist
    return dist.Normal(base.loc + base.scale * loc, base.scale * positive(raw + ONE)).to_event(3)


def on_images(net: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A network of images `(images, C, H, W)` on `(..., C, H, W)`."""
    out = net(x.reshape(-1, *x.shape[-3:]))
    return out.reshape(*x.shape[:-3], *out.shape[1:])


def at_zero(channels: int, latent_channels: int) -> nn.Module:
    """Two numbers per latent, zeros at first: the prior starts standard normal, the guide at its model's prior."""
    layer = nn.Conv2d(channels, 2 * latent_channels, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
