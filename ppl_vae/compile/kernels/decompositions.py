"""Substitutes for operations that compilers know no good way for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor

aten = torch.ops.aten

DEGREE = 9


def softplus(x: Tensor) -> Tensor:
    """Give log(1 + eˣ) = max(x, 0) + log(1 + y), y = e^−|x|, within 2e-7 of the value, in float32.

    A polynomial, for a call of `log1p` takes as long as a small matrix product:
    log(1 + y)/y on [0, 1] is interpolated at Chebyshev's points; the relative error there is 5e-9 before rounding.
    """

    def ratio(y: Any) -> Any:
        return np.log1p(y) / np.where(y == 0, 1, y)

    coefficients = Chebyshev.interpolate(ratio, DEGREE, [0, 1]).convert(kind=Polynomial).coef
    y = x.abs().neg().exp()
    value = torch.full_like(y, float(coefficients[-1]))
    for coefficient in coefficients[-2::-1]:
        value = value * y + float(coefficient)
    return x.clamp_min(0) + value * y


def decompositions() -> dict[Any, Callable[..., Any]]:
    """The operations to trace in place of others."""
    return {
        aten.normal.Tensor_Tensor: _normal,
        aten.softplus.default: _softplus,
        aten.log_sigmoid_forward.default: _log_sigmoid,
        aten.binary_cross_entropy_with_logits.default: _cross_entropy,
        aten.convolution.default: _convolution,
        aten.convolution_backward.default: _convolution_backward,
    }


def _normal(mean: Tensor, std: Tensor, generator: torch.Generator | None = None) -> Any:
    """As torch does it, in the same order and with the same random numbers."""
    if generator is not None:
        return NotImplemented
    shape = torch.broadcast_shapes(mean.shape, std.shape)
    return torch.randn(shape, dtype=torch.result_type(mean, std), device=mean.device) * std + mean


def _softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Any:
    if x.dtype != torch.float32:
        return NotImplemented
    return torch.where(x * beta > threshold, x, softplus(x * beta) / beta)


def _log_sigmoid(x: Tensor) -> Any:
    # the second is what the gradient reuses, which Inductor computes anew
    return (-softplus(-x), torch.exp(-x.abs())) if x.dtype == torch.float32 else NotImplemented


def _cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None, reduction: int = 1
) -> Any:
    if logits.dtype != torch.float32 or reduction != 0:
        return NotImplemented
    positive = softplus(-logits)
    loss = (1 - target) * logits + (positive if pos_weight is None else positive * ((pos_weight - 1) * target + 1))
    return loss if weight is None else loss * weight


FEW = 16
"""Products for each element of the result up to which a transposed convolution is a product of matrices and a sum."""


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    """Transposed, to a channel or a few: oneDNN computes 16 at least, and brings the result into another order.

    Each datum's columns C = Wᵀ x, `(channels · taps, places)`, are added up where they overlap.
    """
    inner, channels, *taps = weight.shape
    few = channels * math.prod(taps) <= FEW * math.prod(stride)
    if not (transposed and few and groups == 1 and set(dilation) == {1} and x.dtype == torch.float32):
        return NotImplemented
    data, _, *places = x.shape
    columns = x.movedim(1, -1).reshape(-1, inner) @ weight.reshape(inner, -1)
    y = columns.reshape(data, *places, channels, *taps).movedim(len(places) + 1, 1)
    for d, tap in enumerate(taps):
        size = (places[d] - 1) * stride[d] - 2 * padding[d] + tap + output_padding[d]
        y = _overlapped(y, d + 2, len(places) + 2, stride[d], padding[d], size)
    return y if bias is None else y + bias.reshape(-1, *[1] * len(places))


def _overlapped(columns: Tensor, place: int, tap: int, stride: int, padding: int, size: int) -> Tensor:
    """Sum y[place · stride + tap − padding] += columns[place, tap]; the dimension of taps goes."""
    blocks = -(-(padding + size) // stride)
    taps = columns.unbind(tap)

    def moved(column: Tensor, by: int) -> Tensor:
        around = [0, 0] * (column.ndim - place - 1) + [by, blocks - column.shape[place] - by]
        return torch.nn.functional.pad(column, around)

    phases = [sum(moved(c, m) for m, c in enumerate(taps[r::stride])) for r in range(stride)]
    none = torch.zeros_like(moved(taps[0], 0))
    y = torch.stack([none if isinstance(phase, int) else phase for phase in phases], place + 1)
    return y.flatten(place, place + 1).narrow(place, padding, size)


def _convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor, *options: Any) -> Any:
    """With channels as the last in memory: oneDNN would bring the gradient of x into that order and back, slowly."""
    if x.ndim != 4 or not options[-1][0] or x.dtype != torch.float32:
        return NotImplemented
    last = torch.channels_last
    if gradient.is_contiguous(memory_format=last) and x.is_contiguous(memory_format=last):
        return NotImplemented
    gradient, x = gradient.contiguous(memory_format=last), x.contiguous(memory_format=last)
    gradients = aten.convolution_backward.default(gradient, x, weight, *options)
    return tuple(g if g is None else g.contiguous() for g in gradients)
