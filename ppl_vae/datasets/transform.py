"""From tensors as stored (uint8 for images) to tensors as a model sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from ppl_vae.datasets.noise import keyed_uniform, uniform

Scale = Literal["none", "unit"]
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
        return x / self.peak

    def mean(self, x: Tensor) -> Tensor:
        """Give E[x] / peak."""
        return x / self.peak


@dataclass(frozen=True)
class Transform:
    """Steps one after the other, then a cast.

    Args:
        steps: the policies in order.
        dtype: of what comes out.
        seed: key of the noise where no generator is given; see `keyed_uniform`.
    """

    steps: tuple[Step, ...] = ()
    dtype: torch.dtype = torch.float32
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
        return x if x.dtype == self.dtype else x.to(self.dtype)  # even where it does nothing, `to` takes time

    def mean(self, x: Tensor) -> Tensor:
        """Give the mean of processed x, ``(*shape)``, from the stored mean (all are affine)."""
        for step in self.steps:
            x = step.mean(x)
        return x.to(self.dtype)

    def to(self, device: torch.device | str) -> Transform:
        """Give the same transform with the tensors that its steps hold on `device`."""
        steps = tuple(step.to(device) if hasattr(step, "to") else step for step in self.steps)
        return Transform(steps, self.dtype, self.seed)
