"""Substitutes for operations that compilers know no good way for."""

from __future__ import annotations

from collections.abc import Callable
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
