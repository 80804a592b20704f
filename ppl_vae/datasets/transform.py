"""From tensors as stored (uint8 for images) to tensors as a model sees them: steps, and the noise of random ones.

Binarization reads a grey level x in [0, 1] as the probability that the pixel is on. Dequantization fills the gap
between integers with uniform noise. Standardization gives zero mean and unit variance per column or channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), written
# with signed 64-bit integers, which wrap around as the unsigned ones of the paper do.
_GOLDEN, _FIRST, _SECOND = (n - 2**64 for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


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


Draw = Callable[[Tensor], Tensor]
"""Gives U[0, 1) noise of the shape of its argument."""


class Step(Protocol):
    """One policy: stored or half-processed x and a source of noise in, x out; both ``(data, *shape)``."""

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Process x."""
        ...

    def mean(self, x: Tensor) -> Tensor:
        """Give the mean of what comes out where the mean of what goes in is x, ``(*shape)``."""
        ...


@dataclass(frozen=True)
class Scaling:
    """x / peak: integers 0, …, peak to [0, 1]."""

    peak: float

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Give x / peak; the noise is not used."""
        return self.mean(x)

    def mean(self, x: Tensor) -> Tensor:
        """Give E[x] / peak."""
        return x / self.peak


@dataclass(frozen=True)
class DynamicBinarization(Scaling):
    """A fresh draw b ~ Bernoulli(x / peak) at every visit of a datum; E[b] = E[x] / peak, and `peak` is white.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519
    """

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Give b, booleans of x's shape."""
        return draw(x) * self.peak < x


@dataclass(frozen=True)
class UniformDequantization:
    """y = (x + u) / levels in (0, 1) with u ~ U(0, 1), for x in {0, …, levels − 1}.

    The expected log density of y, less log(levels) per dimension, is a lower bound on log P(x): a continuous
    model of y is thereby an honest model of the integers, which one of x / (levels − 1) is not.

    References:
        Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models,
            https://arxiv.org/abs/1511.01844
    """

    levels: int

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Give y, of the noise's dtype."""
        u = draw(x)
        # rounding may carry (levels − 1) + u up to levels, and one u of 2²⁴ is 0: keep the open interval
        return ((x.to(u.dtype) + u) / self.levels).clamp(2.0**-33, 1 - 2.0**-24)

    def mean(self, x: Tensor) -> Tensor:
        """Give E[y] = (E[x] + 1/2) / levels."""
        return (x + 0.5) / self.levels


@dataclass(frozen=True, eq=False)
class Standardization:
    """z = (x − location) / scale; the statistics are shaped to broadcast against an event of x.

    Densities of z are those of x times ∏ scale: add Σ log(1 / scale), `log_density_shift`, to a log density
    of z to have it in the units of x (nats per datum).
    """

    location: Tensor
    scale: Tensor

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Give z; the noise is not used."""
        return self.mean(x)

    def mean(self, x: Tensor) -> Tensor:
        """Give E[z]: zero, but for the axes that share one location."""
        x = x.to(self.location.dtype) if x.dtype == torch.bool else x  # which torch does not subtract from
        return (x - self.location) / self.scale

    def to(self, device: torch.device | str) -> Standardization:
        """Give the same standardization with its statistics on `device`."""
        return Standardization(self.location.to(device), self.scale.to(device))

    def log_density_shift(self, shape: tuple[int, ...]) -> float:
        """Give log p(x) − log p(z) for one datum of `shape`, in nats."""
        return -float(self.scale.double().log().expand(shape).sum())


@dataclass(frozen=True)
class Transform:
    """Steps one after the other, then a cast.

    Args:
        steps: the policies in order.
        dtype: of what comes out; None for what it is.
        seed: key of the noise where no generator is given; see `keyed_uniform`.
    """

    steps: tuple[Step, ...] = ()
    dtype: torch.dtype | None = None
    seed: int = 0

    def __call__(self, x: Tensor, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Process x, ``(data, *shape)``, of the data numbered `indices`, ``(data,)``."""
        # of half precision too few bits would be left: U[0, 1) would round to 1
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32

        def draw(like: Tensor) -> Tensor:
            if generator is None:
                return keyed_uniform(indices, tuple(like.shape[1:]), self.seed, dtype)
            return uniform(like.shape, generator, like.device, dtype)

        for step in self.steps:
            x = step(x, draw)
        return x if self.dtype in (None, x.dtype) else x.to(self.dtype)  # even where it does nothing, `to` takes time

    def mean(self, x: Tensor) -> Tensor:
        """Give the mean of processed x, ``(*shape)``, from the stored mean (all are affine)."""
        for step in self.steps:
            x = step.mean(x)
        wanted = self.dtype is not None and self.dtype.is_floating_point
        return x.to(self.dtype if wanted else torch.get_default_dtype())

    def to(self, device: torch.device | str) -> Transform:
        """Give the same transform with the tensors that its steps hold on `device`."""
        steps = tuple(step.to(device) if hasattr(step, "to") else step for step in self.steps)
        return Transform(steps, self.dtype, self.seed)
