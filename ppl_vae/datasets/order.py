"""The order of an epoch through data outside memory: blocks are shuffled, then the data of a few blocks together.

The m blocks come in random order; those of a window, W one after the other, are in memory together, and their data are
shuffled. Every datum comes once. Seed and number fix a window, so that an epoch goes on anywhere without reading what
came before it, in memory for m numbers and one window.

Data of one block always come in one window. For blocks of equal size, of which W divides m, the mean of a batch of b
data of values with variance σ² over all data, σ²ᵦ of the means of the blocks, and windows of n data has the variance

    v + (σ² − v) (n − b) / (b (n − 1)),  v = σ²ᵦ (m − W) / (W (m − 1)),

where that of a full permutation has v = 0: it is larger by at most σ²ᵦ / W, and not at all for W = m. Data that lie in
random order have blocks with means so alike that nothing is lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae import rng

BLOCKS, WITHIN, NOISE = 0, 1, 2
"""Purposes of the streams of random numbers of an epoch."""


@dataclass(frozen=True, eq=False)
class BlockOrder:
    """The order of data by blocks.

    Args:
        bounds: places of the data at which blocks begin, ascending, and their number, int64 ``(m + 1,)``.
        window: how many blocks are shuffled together.
        sequential: leave the blocks in their order, and shuffle windows alone.

    Example:
        >>> order = BlockOrder(torch.tensor([0, 2, 4, 6]), window=2)
        >>> [sorted(places.tolist()) for places in order.windows(seed=0)]
        [[0, 1, 2, 3], [4, 5]]
        >>> [places.tolist() for places in order.windows(seed=0, done=3)]
        [[2], [5, 4]]
    """

    bounds: Tensor
    window: int
    sequential: bool = False

    def windows(self, seed: int, done: int = 0) -> Iterator[Tensor]:
        """Give the places of the data, window by window, those ahead after the first `done`."""
        sizes = self.bounds.diff()
        blocks = sizes.nonzero().flatten()
        if not self.sequential:
            blocks = blocks[torch.randperm(len(blocks), generator=generator(seed, BLOCKS))]
        for number, some in enumerate(blocks.split(self.window)):
            size = int(sizes[some].sum())
            if done >= size:
                done -= size
                continue
            places = torch.cat([torch.arange(int(self.bounds[b]), int(self.bounds[b + 1])) for b in some])
            yield places[torch.randperm(size, generator=generator(seed, WITHIN, number))[done:]]
            done = 0

    def describe(self) -> dict[str, int | str]:
        """The identity of the order, but for its seed."""
        digest = hashlib.sha256(self.bounds.numpy().tobytes()).hexdigest()
        return {"blocks": len(self.bounds) - 1, "window": self.window, "bounds": digest}


def generator(seed: int, *purpose: int) -> torch.Generator:
    """Give the source of one of the streams of random numbers of an epoch."""
    return torch.Generator().manual_seed(rng.derive(seed, *purpose))
