"""Uniform noise for random policies: from a generator in training, keyed by the datum elsewhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), written
# with signed 64-bit integers, which wrap around as the unsigned ones of the paper do.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def _logical_shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _logical_shift(x, 30)) * _FIRST
    x = (x ^ _logical_shift(x, 27)) * _SECOND
    return x ^ _logical_shift(x, 31)


def keyed_uniform(indices: Tensor, shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw U[0, 1) as a function of (seed, datum, element) alone.

    The same datum therefore gets the same noise in every batch size, order, slice and on every device, and
    evaluation on a randomly binarized data set means the same thing each time.

    Args:
        indices: the data, int64 ``(data,)``.
        shape: shape per datum.
        seed: any integer.
        dtype: of the result.

    Returns:
        ``(data, *shape)`` numbers in [0, 1).

    Example:
        >>> i = torch.arange(4)
        >>> torch.equal(keyed_uniform(i, (3,), seed=0)[2:], keyed_uniform(i[2:], (3,), seed=0))
        True
    """
    # 2^64 mod-wrapped seeds are as good as any others
    base = torch.tensor(((seed + 2**63) % 2**64) - 2**63, dtype=torch.int64, device=indices.device)
    keys = _mix(_mix(base) + (indices + 1) * _GOLDEN)
    elements = torch.arange(1, math.prod(shape) + 1, device=indices.device) * _GOLDEN
    bits = 53 if dtype == torch.float64 else 24  # as many as the mantissa holds, so that 1.0 never appears
    draws = _logical_shift(_mix(keys[:, None] + elements), 64 - bits)
    return (draws.to(dtype) * 2.0**-bits).reshape(len(indices), *shape)


def uniform(shape: torch.Size, generator: torch.Generator, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Draw U[0, 1) from `generator`, on its own device, and hand it over on `device`."""
    return torch.rand(shape, generator=generator, device=generator.device, dtype=dtype).to(device)
