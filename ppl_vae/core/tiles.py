"""Evaluations cut into tiles of particles and data, within a memory budget and a fixed random stream."""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
import torch
from torch import Tensor, nn

from ppl_vae.core.data import as_pair_takes
from ppl_vae.core.misfit import misfit_told
from ppl_vae.core.prepared import Mode
from ppl_vae.core.run import prepare, terms
from ppl_vae.core.terms import Terms
from ppl_vae.errors import CheckError, DataError
from ppl_vae.rng import derive, forked

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.datasets.split import Split

TILE = 16 * 2**20
"""Bytes that a tile aims at on a CPU: large enough for fast matrix products, small enough for its caches."""

ACCELERATOR_TILE = 512 * 2**20
"""The same elsewhere, where launching a kernel costs more than leaving a cache."""

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True)
class Tiling:
    """A grid over data and particles; a tile draws from a stream of its own.

    The grid depends on the pair, the number of data and the kind of device alone: no result depends on the budget.

    Attributes:
        data: data per tile.
        particles: particles per tile.
        seed: of all streams.
    """

    data: int
    particles: int
    seed: int

    def chunks(self, num_particles: int) -> list[int]:
        """Sizes of the chunks of particles."""
        whole, rest = divmod(num_particles, self.particles)
        return [self.particles] * whole + [rest] * (rest > 0)

    def seed_all(self, datum: int, chunk: int) -> None:
        """Start the stream of the tile whose first datum and whose chunk these are."""
        seed = derive(self.seed, datum, chunk) % 2**32
        # As `pyro.set_rng_seed` does, but for `torch.manual_seed`, which formats a traceback each time.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - what programs may use


def plan(
    vae: "VAE", batch: tuple[Any, ...], n: int, num_particles: int, memory: int | str, seed: int, *, copies: int = 1
) -> Tiling:
    """Choose the tile for a pair, from one batch of its data.

    Args:
        vae: the pair.
        batch: any batch; its shapes count.
        n: number of data.
        num_particles: K.
        memory: upper limit of the working memory, bytes, or such as `"512MB"`; a tile has to fit. An estimate:
            one row is taken to need six copies of x and three of the widest layer.
        seed: of all streams.
        copies: rows that a particle of a datum takes: the values that are summed over.

    Raises:
        DataError: if a tile does not fit. (Smaller tiles would take other draws, so that results would depend on
            the budget.)
    """
    row = _row_bytes(vae, batch) * copies
    budget = parse_bytes(memory)
    aim = TILE if vae.device.type == "cpu" else ACCELERATOR_TILE
    if budget < aim:
        raise DataError(f"Got memory={memory!r}, expected at least {aim // 2**20}MB: one tile of data and particles.")
    rows = max(1, aim // row)
    particles = min(num_particles, max(1, rows // min(n, 16)))
    return Tiling(data=max(1, min(n, rows // particles)), particles=particles, seed=seed)


def plan_rows(vae: "VAE", batch: tuple[Any, ...], n: int, rows: int, memory: int | str, seed: int) -> Tiling:
    """Choose the tile where each datum has `rows` rows of one batch (its chains), in place of particles."""
    data = plan(vae, batch, n * rows, 1, memory, seed).data
    return Tiling(max(1, data // rows), rows, seed)


@dataclass(frozen=True)
class Block:
    """Some data of a split, for which all particles are drawn before the next ones.

    Attributes:
        batch: the data as the pair takes them.
        at: where they are in the split.
        tiling: the grid.
    """

    batch: tuple[Any, ...]
    at: slice
    tiling: Tiling

    def chunks(self, num_particles: int) -> Iterator[tuple[int, int]]:
        """The number and size of each chunk of particles, its random stream begun."""
        for number, chunk in enumerate(self.tiling.chunks(num_particles)):
            self.tiling.seed_all(self.at.start, number)
            yield number, chunk


def blocks(
    vae: "VAE", split: "Split", tiling: Tiling, progress: Callable[[int, int], None] | None = None
) -> Iterator[Block]:
    """Go through a split block by block, the random stream of each begun.

    Args:
        vae: the pair.
        split: the data.
        tiling: the grid.
        progress: called after each block with the number of data done and of all data.
    """
    n = len(split)
    for start in range(0, n, tiling.data):
        at = slice(start, min(start + tiling.data, n))
        tiling.seed_all(start, 0)
        yield Block(as_pair_takes(split.batch(at), vae), at, tiling)
        if progress is not None:
            progress(at.stop, n)


def first_data(vae: "VAE", split: "Split") -> tuple[Any, ...]:
    """The first two data of a split as the pair takes them: a batch that tells shapes."""
    return as_pair_takes(split.batch(slice(0, 2)), vae)


def _row_bytes(vae: "VAE", batch: tuple[Any, ...]) -> int:
    tensors = [t for t in batch if isinstance(t, Tensor) and t.dim()]
    x = tensors[0][0] if tensors and len(tensors[0]) else torch.zeros(1)
    pixels = x.shape[-1] * x.shape[-2] if x.dim() >= 2 else 1
    widths = [1]
    for module in vae.modules():
        if isinstance(module, nn.Linear):
            widths.append(module.out_features)
        elif isinstance(module, nn.modules.conv._ConvNd):
            widths.append(module.out_channels * pixels)
    size = max((p.element_size() for p in vae.parameters()), default=4)
    return size * (6 * max(x.numel(), 1) + 3 * max(widths))


def parse_bytes(memory: int | str) -> int:
    """Read a number of bytes.

    >>> parse_bytes("512MB") == parse_bytes("0.5 GiB") == 2**29
    True
    """
    if isinstance(memory, int):
        size = memory
    else:
        match = re.fullmatch(r"([\d.]+)\s*([kmgt]?)(i?b)?", memory.strip().lower())
        if match is None:
            raise DataError(f"Got memory={memory!r}, expected bytes such as 268435456 or a size such as '256MB'.")
        size = int(float(match[1]) * _UNITS[match[2]])
    if size < 1:
        raise DataError(f"Got memory={memory!r}, expected a positive number of bytes.")
    return size


def enumerated_copies(t: Terms) -> int:
    """Give the number of joint values of the sites that are summed over."""
    sizes = [s.log_prob.numel() // max(s.log_prob.shape[-2:].numel(), 1) for s in t.guide.values() if s.is_local]
    return max([1, *sizes])


@contextmanager
def inference(vae: "VAE", batch: tuple[Any, ...], *, sum_out: bool = False) -> Iterator[Callable[..., Terms]]:
    """Within, the pair is in evaluation mode, without gradients; modes and random streams are then put back.

    Args:
        vae: the pair.
        batch: any batch of its data.
        sum_out: sum over the discrete latents that the pair enumerates in training, where they stand in the data
            plate and in no other.

    Yields:
        `terms` of the pair as declared: every latent of the guide is one draw from its distribution.

    Raises:
        CheckError: if the pair has no data plate.
    """
    modes = [(module, module.training) for module in vae.modules()]
    vae.eval()
    mode: Mode = "sum" if sum_out else "draw"
    try:
        with torch.no_grad(), pyro.validation_enabled(False), forked(vae.device):
            with misfit_told(vae):
                prepared = prepare(vae, batch, mode=mode)
            if not prepared.plates.data_plates:
                raise CheckError(
                    "No plate of the pair follows the batch, which is therefore one joint observation: it has no "
                    "evidence, posterior or draw per datum. Put the data in `with pyro.plate('data', x.shape[0])`, or "
                    "name your plate: VAE(model, guide, data_plate='…')."
                )
            yield partial(terms, vae, mode=mode)
    finally:
        for module, mode_before in modes:
            module.training = mode_before
