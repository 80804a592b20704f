"""Fully connected encoders and decoders."""

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ppl_vae.errors import ArgumentError, PplVaeError, one_of
from ppl_vae.nn.features import DataSpec, Features

WIDEST = 2**24
"""The largest size of a layer: 16 GiB of weights between it and one of 256."""

Activation = Literal["relu", "tanh", "elu", "silu", "gelu", "softplus", "glu"]
"""The name of an activation; `"glu"` is a gate, see `MLP`."""

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "glu": nn.GLU,
}


def act(activation: Activation) -> nn.Module:
    """The layer of an activation.

    Raises:
        ArgumentError: there is none of that name.
    """
    return ACTIVATIONS[one_of("activation", activation, ACTIVATIONS)]()


class MLP(nn.Sequential):
    """Linear layers with an activation after each hidden one.

    Args:
        features: size of the last input axis.
        out: size of the last output axis; None ends with the last hidden layer and its activation.
        hidden: widths of the hidden layers.
        activation: `glu` gates each hidden layer with a second linear map (van den Oord et al. 2016).

    Raises:
        PplVaeError: a size is not positive.

    Example:
        >>> import torch
        >>> MLP(3, 2, hidden=[16, 16])(torch.zeros(7, 5, 3)).shape
        torch.Size([7, 5, 2])
    """

    def __init__(
        self,
        features: int,
        out: int | None = None,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
    ) -> None:
        check_sizes(features=features, hidden=hidden, out=out or 1)
        one_of("activation", activation, ACTIVATIONS)  # with no hidden layer, too
        layers: list[nn.Module] = []
        for width in hidden:
            layers.append(nn.Linear(features, 2 * width if activation == "glu" else width))
            layers.append(act(activation))
            features = width
        if out is not None:
            layers.append(nn.Linear(features, out))
            features = out
        super().__init__(*layers)
        self.out_features = features


class Encoder(nn.Module):
    """A batch of data, flattened, to features.

    Args:
        spec: the dataset's spec.
        hidden: widths of the hidden layers.
        activation: after each of them.
        extra: features that are appended to x (a label, an earlier latent).

    Example:
        >>> from ppl_vae.datasets.spec import Spec
        >>> spec = Spec(shape=(1, 8, 8), support="binary")
        >>> Encoder(spec, hidden=[32])(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 32])
    """

    def __init__(
        self, spec: DataSpec, hidden: Sequence[int] = (256,), activation: Activation = "relu", extra: int = 0
    ) -> None:
        super().__init__()
        self.features = Features(spec)
        self.net = MLP(self.features.out_features + extra, hidden=hidden, activation=activation)
        self.out_features = self.net.out_features

    def forward(self, x: Tensor, *extra: Tensor) -> Tensor:
        """Data `(..., *shape)` and extras `(..., features)` to `(..., out_features)`."""
        return self.net(join(self.features(x), *extra))


class Decoder(nn.Module):
    """Features to the parameters of a likelihood, starting at the training mean.

    Args:
        spec: the dataset's spec.
        likelihood: tells how many parameters an element has and where they start.
        features: size of the input's last axis, e.g. the latent dimension.
        hidden: widths of the hidden layers.
        activation: after each of them.
        extra: features that are appended to the input (a label).
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any,
        features: int,
        hidden: Sequence[int] = (256,),
        activation: Activation = "relu",
        extra: int = 0,
    ) -> None:
        super().__init__()
        self.out_shape = getattr(likelihood, "params_shape", (likelihood.num_params, *spec.shape))
        self.net = MLP(features + extra, prod(self.out_shape), hidden=hidden, activation=activation)
        start_at_mean(self.net[-1], likelihood)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs `(..., features)`, joined, to the likelihood's parameters, `(..., num_params, *shape)`."""
        return self.net(join(*inputs)).unflatten(-1, self.out_shape)


def check_sizes(**sizes: int | Sequence[int]) -> None:
    """Refuse sizes below 1, and those that no memory holds, by name.

    Raises:
        PplVaeError: naming the size and its value.
    """
    for name, size in sizes.items():
        given = size if isinstance(size, Sequence) else [size]
        if min(given, default=1) < 1:
            raise PplVaeError(f"a network cannot be built with {name}={size}: every size must be at least 1.")
        if max(given, default=1) > WIDEST:
            raise PplVaeError(f"a network cannot be built with {name}={size}: every size must be at most {WIDEST}.")


def check_layers(layers: int) -> None:
    """Refuse a number of layers that cannot be meant.

    Raises:
        PplVaeError: with the number.
    """
    if not 0 <= layers <= 1000:
        raise PplVaeError(f"a network cannot be built with layers={layers}: expected a number from 0 to 1000.")


def start_at_mean(layer: Any, likelihood: Any) -> None:
    """Set a linear layer's bias to the likelihood's `initial_bias`, where it has one."""
    bias = getattr(likelihood, "initial_bias", lambda: None)()
    if bias is not None:
        with torch.no_grad():
            layer.bias.copy_(bias.flatten())


def start_at_scale(layer: Any, mean: float) -> None:
    """Let a linear layer begin as if its inputs, which are 0 or 1, had mean 0 and variance 1.

    A one-hot code of many classes hardly moves a network otherwise, which then learns to do without it.

    Args:
        layer: a new one.
        mean: share of ones.
    """
    with torch.no_grad():
        layer.weight.div_((mean * (1 - mean)) ** 0.5)
        layer.bias.sub_(mean * layer.weight.sum(1))


def join(*inputs: Tensor) -> Tensor:
    """Concatenate along the last axis; leading axes (particles, enumerated values) broadcast.

    Example:
        >>> import torch
        >>> join(torch.zeros(128, 3), torch.zeros(10, 1, 1, 2)).shape
        torch.Size([10, 1, 128, 5])
    """
    if not inputs:
        raise ArgumentError("Got nothing to join, expected at least one tensor.")
    if len(inputs) == 1:
        return inputs[0]
    try:
        lead = torch.broadcast_shapes(*(t.shape[:-1] for t in inputs))
    except RuntimeError:
        shapes = ", ".join(str(tuple(t.shape)) for t in inputs)
        raise ArgumentError(f"Got inputs of shapes {shapes}, expected the same but for the last axis.") from None
    return torch.cat([t.expand(*lead, t.shape[-1]) for t in inputs], -1)
