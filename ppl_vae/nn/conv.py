"""Convolutional encoders and decoders for images of any size."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae.errors import ArgumentError, DataError
from ppl_vae.nn.features import DataSpec, Rescale
from ppl_vae.nn.mlp import MLP, Activation, act, check_sizes, join


class ConvEncoder(nn.Module):
    """An image to features, by convolutions that halve its sides, rounding up.

    Args:
        spec: the dataset's spec; its shape is (C, H, W) with any H and W.
        channels: of each convolution, from x to z.
        hidden: widths of the fully connected layers that follow.
        activation: after each layer.
        residual: add a residual block after each convolution.

    Raises:
        DataError: x is no image.

    Example:
        >>> import torch
        >>> from ppl_vae.datasets.spec import Spec
        >>> encoder = ConvEncoder(Spec(shape=(1, 28, 20), support="binary"), channels=[8, 16], hidden=[32])
        >>> encoder(torch.zeros(3, 5, 1, 28, 20)).shape
        torch.Size([3, 5, 32])
    """

    def __init__(
        self,
        spec: DataSpec,
        channels: Sequence[int] = (32, 64),
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.shape = image_shape(spec)
        check_sizes(channels=channels)
        self.rescale = Rescale(spec)
        layers: list[nn.Module] = []
        width = self.shape[0]
        for c in channels:
            layers += [nn.Conv2d(width, gates(c, activation), 3, stride=2, padding=1), over_channels(activation)]
            layers += [Residual(c, activation)] if residual else []
            width = c
        self.conv = nn.Sequential(*layers)
        features = width * prod(halved(self.shape[1:], len(channels))[-1])
        self.net = MLP(features, hidden=hidden, activation=activation)
        self.out_features = self.net.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Images `(..., C, H, W)` to features `(..., out_features)`."""
        lead = x.shape[:-3]
        h = self.conv(self.rescale(x).reshape(-1, *self.shape))
        return self.net(h.flatten(1)).reshape(*lead, self.out_features)


class PlacesEncoder(nn.Module):
    """An image to features of its places, by convolutions that halve its sides, and by nothing between all places.

    Args:
        spec: the dataset's spec; its shape is (C, H, W) with any H and W.
        channels: of each convolution, from x to z; the last is the number of features of a place.
        activation: after each layer.
        residual: add a residual block after each convolution.

    Raises:
        DataError: x is no image.

    Example:
        >>> import torch
        >>> from ppl_vae.datasets.spec import Spec
        >>> encoder = PlacesEncoder(Spec(shape=(1, 28, 20), support="binary"), channels=[8, 16])
        >>> encoder(torch.zeros(3, 1, 28, 20)).shape
        torch.Size([3, 35, 16])
    """

    def __init__(
        self,
        spec: DataSpec,
        channels: Sequence[int] = (32, 64),
        activation: Activation = "relu",
        residual: bool = False,
    ) -> None:
        super().__init__()
        whole = ConvEncoder(spec, channels, (), activation, residual)
        self.shape, self.rescale, self.conv = whole.shape, whole.rescale, whole.conv
        self.out_features = channels[-1] if channels else self.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Images `(..., C, H, W)` to features `(..., places, out_features)`."""
        h: Tensor = self.conv(self.rescale(x).reshape(-1, *self.shape))
        return h.flatten(2).mT.unflatten(0, x.shape[:-3])


class _Doubling(nn.Module):
    """Transposed convolutions that double the sides of a picture, after a network that gives the smallest one.

    Args:
        spec: the dataset's spec.
        likelihood: tells how many parameters an element has and where they start.
        channels: of the input of each transposed convolution, from z to x.
        activation: after each layer.
        residual: add a residual block before each transposed convolution.
        net: from the shape of the smallest picture to the network, whose output has one axis.
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any,
        channels: Sequence[int],
        activation: Activation,
        residual: bool,
        net: Callable[[tuple[int, ...]], nn.Module],
    ) -> None:
        super().__init__()
        self.out_shape = (likelihood.num_params, *image_shape(spec))
        check_sizes(channels=channels)
        sizes = halved(spec.shape[1:], len(channels))[::-1]  # from z to x
        outs = [*channels[1:], likelihood.num_params * spec.shape[0]]
        self.in_shape = (channels[0] if channels else outs[-1], *sizes[0])
        self.net = net(self.in_shape)
        layers: list[nn.Module] = [] if residual else [act(plain(activation))]
        for i, (c, out) in enumerate(zip(channels, outs, strict=False)):
            last = i == len(channels) - 1
            height, width = sizes[i + 1]
            even = (1 - height % 2, 1 - width % 2)  # an even side is one longer than 2n - 1
            layers += [Residual(c, activation)] if residual else []
            wide = out if last else gates(out, activation)
            layers += [nn.ConvTranspose2d(c, wide, 3, stride=2, padding=1, output_padding=even)]
            layers += [] if last else [over_channels(activation)]
        self.conv = nn.Sequential(*layers)
        # One bias per pixel, where the last convolution has one per channel only.
        start = getattr(likelihood, "initial_bias", lambda: None)()
        self.bias = nn.Parameter(torch.zeros(self.out_shape) if start is None else start.float())

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs `(..., features)`, joined, to `(..., num_params, C, H, W)`."""
        h = self.net(join(*inputs))
        out = self.conv(h.reshape(-1, *self.in_shape))
        return out.reshape(*h.shape[:-1], *self.out_shape) + self.bias


class ConvDecoder(_Doubling):
    """Features to the parameters of a likelihood, by transposed convolutions, starting at the training mean.

    Args:
        spec: the dataset's spec; its shape is (C, H, W) with any H and W.
        likelihood: tells how many parameters an element has and where they start.
        features: size of the input's last axis, e.g. the latent dimension.
        channels: of the input of each transposed convolution, from z to x.
        hidden: widths of the fully connected layers before them.
        activation: after each layer.
        residual: add a residual block before each transposed convolution.

    Raises:
        DataError: x is no image.
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any,
        features: int,
        channels: Sequence[int] = (64, 32),
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        residual: bool = False,
    ) -> None:
        check_sizes(features=features)

        def net(shape: tuple[int, ...]) -> MLP:
            return MLP(features, prod(shape), hidden=hidden, activation=activation)

        super().__init__(spec, likelihood, channels, activation, residual, net)


class PlacesDecoder(_Doubling):
    """Vectors of places to the parameters of a likelihood, by transposed convolutions and nothing between all places.

    Args:
        spec: the dataset's spec.
        likelihood: tells how many parameters an element has and where they start.
        features: of all places, on one axis, those of a place side by side.
        channels: of the input of each transposed convolution, from z to x.
        activation: after each layer.
        residual: add a residual block before each transposed convolution.

    Raises:
        DataError: x is no image.
        ArgumentError: these are not so many features for each place.
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any,
        features: int,
        channels: Sequence[int] = (64, 32),
        activation: Activation = "relu",
        residual: bool = False,
    ) -> None:
        super().__init__(spec, likelihood, channels, activation, residual, lambda shape: _Places(features, shape))


class _Places(nn.Module):
    """The same linear map at each place; `(..., places · features)` to a picture `(..., channels · height · width)`."""

    def __init__(self, features: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.places = prod(shape[1:])
        if features < 1 or features % self.places:
            raise ArgumentError(f"Got features={features}, expected a multiple of {self.places}, the number of places.")
        self.linear = nn.Linear(features // self.places, shape[0])

    def forward(self, x: Tensor) -> Tensor:
        """Features, of the places one after the other."""
        h: Tensor = self.linear(x.unflatten(-1, (self.places, -1)))
        return h.mT.flatten(-2)


class Residual(nn.Module):
    """x + convolution(activation(convolution(activation(x)))), of equal shape.

    Args:
        channels: of x.
        activation: before each convolution.
    """

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.net = nn.Sequential(
            act(plain(activation)),
            nn.Conv2d(channels, channels, 3, padding=1),
            act(plain(activation)),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps `(images, channels, height, width)`, shape kept."""
        return x + self.net(x)


def image_shape(spec: DataSpec) -> tuple[int, int, int]:
    """(C, H, W) of the dataset, or a refusal that names the model to take instead."""
    if len(spec.shape) != 3:
        raise DataError(
            f"a convolution needs images (channels, height, width), this dataset's x has shape {spec.shape}. "
            "Use model=vae guide=amortized, with encoder=mlp decoder=mlp."
        )
    channels, height, width = spec.shape
    return channels, height, width


def halved(size: Sequence[int], times: int) -> list[tuple[int, ...]]:
    """A size and what is left of it after each halving, rounded up.

    Example:
        >>> halved((28, 21), 2)
        [(28, 21), (14, 11), (7, 6)]
    """
    sizes = [tuple(size)]
    for _ in range(times):
        sizes.append(tuple((n + 1) // 2 for n in sizes[-1]))
    return sizes


def gates(channels: int, activation: Activation) -> int:
    """Channels that a layer must give for `channels` to be left after its activation."""
    return 2 * channels if activation == "glu" else channels


def plain(activation: Activation) -> Activation:
    """The activation, or another one in place of a gate, which would halve the channels."""
    return "elu" if activation == "glu" else activation


def over_channels(activation: Activation) -> nn.Module:
    """The activation, gating over channels."""
    return nn.GLU(1) if activation == "glu" else act(activation)
