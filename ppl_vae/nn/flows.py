"""Normalizing flows over a vector, conditional or not: modules whose forward returns a transform."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from ppl_vae.nn.mlp import MLP, Activation, check_sizes, join


class Affine(Transform):
    r"""$y_i = x_i\, s_i(x) + t_i(x)$, where the components that s and t see make the map invertible.

    Args:
        net: from x, and the context, to shifts and log scales.
        context: what they depend on besides, `(..., features)` each.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, net: Any, context: tuple[Tensor, ...]) -> None:
        super().__init__(cache_size=1)  # the density of an own draw then needs no inverse
        self.net, self.context = net, context

    def with_cache(self, cache_size: int = 1) -> "Affine":
        """The transform itself: it always caches."""
        return self

    def _parameters(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _call(self, x: Tensor) -> Tensor:
        shift, log_scale = self._parameters(x)
        return x * log_scale.exp() + shift

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum of the log scales, `(...)`."""
        return self._parameters(x)[1].sum(-1)


class CouplingTransform(Affine):
    r"""$y_a = x_a,\; y_b = x_b\, s(x_a) + t(x_a)$: half of the components stay, both directions are one pass."""

    def __init__(self, net: Any, mask: Tensor, context: tuple[Tensor, ...]) -> None:
        super().__init__(net, context)
        self.mask = mask

    def _parameters(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = self.net(join(x * self.mask, *self.context)).chunk(2, -1)
        return shift * (1 - self.mask), bounded(raw) * (1 - self.mask)

    def _inverse(self, y: Tensor) -> Tensor:
        shift, log_scale = self._parameters(y)  # the masked half is the same in x and y
        return (y - shift) * (-log_scale).exp()


class Coupling(nn.Module):
    """An affine coupling layer.

    Args:
        dim: size of the vector.
        context: size of what the transform depends on; 0 for nothing.
        hidden: widths of its network's hidden layers.
        activation: after each of them.
        flip: change the first half of the components, not the second.

    References:
        Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, https://arxiv.org/abs/1605.08803
    """

    mask: Tensor

    def __init__(
        self,
        dim: int,
        context: int = 0,
        hidden: Sequence[int] = (64,),
        activation: Activation = "relu",
        flip: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(dim=dim, context=context + 1)
        self.net = MLP(dim + context, 2 * dim, hidden, activation)
        start_at_identity(self.net)
        mask = (torch.arange(dim) < dim // 2).float()
        self.register_buffer("mask", 1 - mask if flip else mask, persistent=False)

    def forward(self, *context: Tensor) -> CouplingTransform:
        """Context `(..., context)`, if any, to a transform of vectors `(..., dim)`."""
        return CouplingTransform(self.net, self.mask, context)


class AutoregressiveTransform(Affine):
    r"""$y_i = x_i\, s(x_{<i}) + t(x_{<i})$: one pass forward, `dim` passes to invert."""

    def _parameters(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = self.net(x, *self.context).chunk(2, -1)
        return shift, bounded(raw)

    def _inverse(self, y: Tensor) -> Tensor:
        x = torch.zeros_like(y)
        for _ in range(y.shape[-1]):  # after i passes the first i components are right
            shift, log_scale = self._parameters(x)
            x = (y - shift) * (-log_scale).exp()
        return x


class Autoregressive(nn.Module):
    """An inverse autoregressive layer: fast to draw from, as guides need it.

    Args:
        dim: size of the vector.
        context: size of what the transform depends on; 0 for nothing.
        hidden: widths of its masked network's hidden layers.
        reverse: run through the components from last to first.

    References:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
            https://arxiv.org/abs/1606.04934
    """

    def __init__(self, dim: int, context: int = 0, hidden: Sequence[int] = (64,), reverse: bool = False) -> None:
        super().__init__()
        self.dim = dim
        self.net = MADE(dim, context, hidden, outputs=2, reverse=reverse)
        start_at_identity(self.net.layers)

    def forward(self, *context: Tensor) -> AutoregressiveTransform:
        """Context `(..., context)`, if any, to a transform of vectors `(..., dim)`."""
        return AutoregressiveTransform(self.net, context)


class MADE(nn.Module):
    """A network whose outputs for component i see only the components before i, and all of the context.

    Args:
        dim: size of the vector.
        context: size of the context; 0 for nothing.
        hidden: widths of the hidden layers.
        outputs: numbers per component; output `(..., outputs * dim)`.
        reverse: "before" counts from the last component.
        inputs: numbers per component that it sees, those of a component side by side.

    References:
        Germain, Gregor, Murray and Larochelle (2015), MADE: Masked Autoencoder for Distribution Estimation,
            https://arxiv.org/abs/1502.03509
    """

    def __init__(
        self,
        dim: int,
        context: int = 0,
        hidden: Sequence[int] = (64,),
        outputs: int = 2,
        reverse: bool = False,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        check_sizes(dim=dim, context=context + 1, hidden=hidden, outputs=outputs, inputs=inputs)
        order = torch.arange(dim).flip(0) if reverse else torch.arange(dim)
        before = torch.cat(
            [order.repeat_interleave(inputs), torch.full((context,), -1)]
        )  # the context comes before all
        layers: list[nn.Module] = []
        for width in hidden:
            # A unit of degree d sees inputs up to d; degree -1 sees the context alone.
            degree = torch.arange(width) % dim - 1
            layers.append(MaskedLinear(degree[:, None] >= before[None, :]))
            before = degree
        layers.append(MaskedLinear(order.repeat(outputs)[:, None] > before[None, :]))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """Vectors `(..., inputs * dim)` and context `(..., context)` to `(..., outputs * dim)`."""
        h = join(x, *context)
        for layer in self.layers[:-1]:
            h = F.elu(layer(h))
        return self.layers[-1](h)


class MaskedLinear(nn.Linear):
    """A linear map some of whose weights are held at zero.

    Args:
        mask: `(out, in)`, true where a weight is free.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - nn.Linear's own name
        """Vectors `(..., in)` to `(..., out)`."""
        return F.linear(input, self.weight * self.mask, self.bias)


def bounded(raw: Tensor) -> Tensor:
    """A log scale within ±5, smoothly: many layers in a row cannot overflow."""
    return 5 * torch.tanh(raw / 5)


def start_at_identity(layers: Any) -> None:
    """Shrink the last layer, so that a fresh flow hardly moves its input."""
    with torch.no_grad():
        layers[-1].weight.mul_(0.01)
        layers[-1].bias.zero_()
