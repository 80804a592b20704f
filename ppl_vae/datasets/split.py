"""A part of a data set, in memory or outside it, and its batches; which data train, validate and test."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ppl_vae.datasets.blocks import Column, equal_starts, numbered
from ppl_vae.datasets.order import NOISE, BlockOrder
from ppl_vae.datasets.order import generator as stream
from ppl_vae.datasets.transform import Transform
from ppl_vae.display import Displayed, View, shape_of
from ppl_vae.errors import DataError

Index = int | slice | Tensor | Sequence[int]


def _no_indices() -> Tensor:
    return torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True, eq=False, repr=False)
class Split(Displayed):
    """Tensors with one data axis, drawn by index; nothing is done per datum in Python.

    Args:
        tensors: as stored, each ``(data, …)``; x comes first. Images stay uint8. Each is in memory, or a `Column` of
            which only what a batch needs is read.
        labels: ``(data,)``, kept apart from the batches.
        factors: known generating factors, int64 ``(data, factors)``, kept apart too.
        transform: turns stored x into the x of a batch.
        indices: the number of each datum in its source, int64 ``(data,)``; follows the datum through slices. In memory,
            or a `Column`.
        columns: names of the columns of x, for messages.

    Raises:
        DataError: where the tensors disagree about the number of data.

    Example:
        >>> split = Split((torch.arange(6.0).reshape(3, 2),))
        >>> [tuple(x.shape) for (x,) in split.batches(2)]
        [(2, 2), (1, 2)]
    """

    tensors: tuple[Tensor | Column, ...]
    labels: Tensor | None = None
    factors: Tensor | None = None
    transform: Transform = field(default_factory=Transform, repr=False)
    indices: Tensor | Column = field(default_factory=_no_indices, repr=False)
    columns: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.tensors:
            raise DataError("Got a split of no tensors, expected at least x.")
        if len(self.indices) == 0 and len(self.tensors[0]):
            resident = isinstance(self.tensors[0], Tensor)
            indices = torch.arange(len(self), device=self.device) if resident else numbered(len(self))
            object.__setattr__(self, "indices", indices)
        sizes = [len(t) for t in (*self.tensors, self.labels, self.factors, self.indices) if t is not None]
        if len(set(sizes)) > 1:
            raise DataError(
                f"Got tensors of {sizes} data in one split, expected one number: every tensor, and the "
                "labels, have a first axis over the same data."
            )

    def __len__(self) -> int:
        return len(self.tensors[0])

    def _view(self) -> View:
        shapes = ", ".join(map(shape_of, self.tensors))
        return View(f"Split({len(self)} data: {shapes}{'' if self.labels is None else ', labels'})")

    def __getitem__(self, index: Index) -> Split:
        """Give the part of the split that `index` selects; an integer selects a split of one datum."""
        at = _as_index(index, len(self), self.device)
        return self.each(lambda tensor: _take(tensor, at))

    def __iter__(self) -> Iterator[Split]:
        # Without this, Python would iterate through __getitem__, datum by datum.
        raise TypeError("A split is not iterated datum by datum: use split.batches(batch_size) or split.batch().")

    @property
    def device(self) -> torch.device:
        """Where the tensors are, or what is read of them."""
        return self.tensors[0].device

    def to(self, device: torch.device | str) -> Split:
        """Give the same split with all its tensors on `device`."""
        return replace(self.each(lambda tensor: tensor.to(device)), transform=self.transform.to(device))

    def each(self, change: Callable[[Any], Any]) -> Split:
        """Give the split with each of its tensors changed alike, labels and numbers of the data, too."""
        tensors = tuple(map(change, self.tensors))
        labels, factors = (None if t is None else change(t) for t in (self.labels, self.factors))
        return replace(self, tensors=tensors, labels=labels, factors=factors, indices=change(self.indices))

    def then(self, step: Any) -> Split:
        """Give the split with a further step in its transform, after those that there are."""
        return replace(self, transform=replace(self.transform, steps=(*self.transform.steps, step)))

    @property
    def in_memory(self) -> bool:
        """True if no tensor is read when a batch is taken."""
        return all(isinstance(tensor, Tensor) for tensor in self.tensors)

    @property
    def block_order(self) -> BlockOrder | None:
        """The order of an epoch by blocks; None for data in memory, or of at most a window, that are shuffled whole."""
        column = next((t for t in self.tensors if isinstance(t, Column) and t.source is not None), None)
        if column is None or column.source is None:
            return None
        source, rows = column.source, column.chosen
        bounds = rows.before(source.starts) if rows.ascending else self._equal(source.starts)
        few = int((bounds.diff() > 0).sum()) <= source.window
        return None if few else BlockOrder(bounds, source.window, source.sequential)

    def _equal(self, starts: Tensor) -> Tensor:
        """Blocks of data that lie anywhere in their source."""
        return torch.tensor(equal_starts(len(self), int(starts.diff().max())))

    def batch(self, index: Index | None = None, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
        """Give what ``model(*batch)`` takes: processed x, then the other tensors; copies, which a program may change.

        Args:
            index: which data; all of them by default.
            generator: source of the noise of random policies (dynamic binarization, dequantization). Without
                one the noise of a datum is always the same, whatever batch it comes in.
        """
        at = slice(None) if index is None else _as_index(index, len(self), self.device)
        x, *others, indices = _copies((*self.tensors, self.indices), at)
        return (self.transform(x, indices, generator), *others)

    def num_batches(self, batch_size: int) -> int:
        """Batches of an epoch."""
        return math.ceil(len(self) / batch_size)

    def batches(
        self, batch_size: int, *, shuffle: bool = False, generator: torch.Generator | None = None, done: int = 0
    ) -> Iterator[tuple[Tensor, ...]]:
        """Go once through the data; the last batch may be smaller.

        Args:
            batch_size: data per batch.
            shuffle: draw a fresh permutation; of data outside memory that are more than a window, one by `block_order`.
            generator: source of the permutation and of the noise of random policies. Without one, both come
                from torch's global generator where `shuffle` is set; else the noise is always the same, see
                `batch`.
            done: batches to leave out at the beginning; the others are the same as without.
        """
        if batch_size < 1:
            raise DataError(f"Got batch_size={batch_size}, expected at least 1.")
        order: Tensor | None = None
        if shuffle:
            generator = torch.default_generator if generator is None else generator
            if (by_blocks := self.block_order) is not None:
                seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
                return self._by_blocks(by_blocks, batch_size, seed, done)
            order = torch.randperm(len(self), generator=generator, device=generator.device).to(self.device)
        if generator is None:
            return self._batches(batch_size, order, None, done)
        return itertools.islice(self._batches(batch_size, order, generator, 0), done, None)  # the noise of all is drawn

    def _batches(
        self, batch_size: int, order: Tensor | None, generator: torch.Generator | None, done: int
    ) -> Iterator[tuple[Tensor, ...]]:
        everything, many = (*self.tensors, self.indices), self._many(batch_size)
        for start in range(done * batch_size, len(self), many):
            block = slice(start, start + many)
            gathered = _copies(everything, block if order is None else order[block])
            for x, *others, indices in zip(*(t.split(batch_size) for t in gathered), strict=True):
                yield (self.transform(x, indices, generator), *others)

    def _by_blocks(self, order: BlockOrder, batch_size: int, seed: int, done: int) -> Iterator[tuple[Tensor, ...]]:
        number, many = done, self._many(batch_size)
        begun: tuple[Tensor, ...] | None = None  # of a batch that lies in two windows, what is of the first
        for places in order.windows(seed, done * batch_size):
            lacking = batch_size - (0 if begun is None else len(begun[0]))
            for part in (places[:lacking], *places[lacking:].split(many)):
                if not len(part):
                    continue
                gathered = _copies((*self.tensors, self.indices), part.to(self.device))
                if begun is not None:
                    gathered = tuple(torch.cat(pair) for pair in zip(begun, gathered, strict=True))
                begun = None
                for batch in zip(*(t.split(batch_size) for t in gathered), strict=True):
                    if len(batch[0]) < batch_size:
                        begun = batch
                    else:
                        yield self._processed(batch, seed, number)
                        number += 1
        if begun is not None:
            yield self._processed(begun, seed, number)

    def _processed(self, batch: tuple[Tensor, ...], seed: int, number: int) -> tuple[Tensor, ...]:
        """A batch with noise of its own, which hangs on no batch before it."""
        x, *others, indices = batch
        return (self.transform(x, indices, stream(seed, NOISE, number) if self.transform.steps else None), *others)

    def _many(self, batch_size: int) -> int:
        """Data that are gathered at once: gathering one small batch costs more calls than copying."""
        size = sum(t.nbytes // max(1, len(t)) for t in (*self.tensors, self.indices)) * min(batch_size, len(self))
        return batch_size * max(1, BLOCK // max(1, size))


BLOCK = 2**21
"""Bytes of data that are gathered at once."""


def _as_index(index: Index, size: int, device: torch.device) -> slice | Tensor:
    if isinstance(index, slice):
        return index
    if isinstance(index, Integral):
        index = int(index)
        if not -size <= index < size:
            raise IndexError(f"Got datum {index} of a split of {size}.")
        return slice(index % size, index % size + 1)
    at = torch.as_tensor(index, device=device)
    if at.is_floating_point() and at.numel():
        raise IndexError(f"Got an index of dtype {at.dtype}, expected integers or booleans.")
    if at.dtype == torch.bool:
        if at.shape != (size,):
            raise IndexError(f"Got a mask of shape {tuple(at.shape)} for a split of {size} data.")
        return at.nonzero().flatten()
    return torch.where(at < 0, at + size, at).long().reshape(-1)


def _take(x: Any, at: slice | Tensor) -> Any:
    if isinstance(x, Column):
        return x.take(at)
    return x[at] if isinstance(at, slice) else x.index_select(0, at)  # ten times faster than x[at]


def _copies(parts: Sequence[Tensor | Column], at: slice | Tensor) -> tuple[Tensor, ...]:
    """Copies, which programs may change: a tensor may be the user's own array, or a file's that cannot be written."""
    read = iter(Column.read([part for part in parts if isinstance(part, Column)], at))
    return tuple(next(read) if isinstance(x, Column) else _copy(x, at) for x in parts)


def _copy(x: Tensor, at: slice | Tensor) -> Tensor:
    return x[at].clone() if isinstance(at, slice) else x.index_select(0, at)


def count(share: float | None, size: int, name: str) -> int:
    """Read a share of `size` data as a number of data.

    Args:
        share: a fraction in (0, 1), a number of data (also as a float, but for 1.0), or 0 or None for none.
        size: how many data there are.
        name: of the split, for messages.

    Raises:
        DataError: for a share below 0, a fraction that comes to no datum, or one that leaves none over.
    """
    if share is None or share is False or share == 0:
        return 0
    if isinstance(share, float) and share > 1 and share.is_integer():
        share = int(share)  # 200.0, as what passed a `float` annotation on its way here
    whole = isinstance(share, Integral) and not isinstance(share, bool)
    if (not whole and not (isinstance(share, float) and 0 < share < 1)) or share < 0:
        raise DataError(
            f"Got {name}={share!r}, expected a fraction between 0 and 1, or a whole number of data of at "
            f"most {size - 1}."
        )
    number = int(share) if whole else round(share * size)
    if number == 0:
        raise DataError(
            f"Got {name}={share:g} of {size} data, which comes to no datum: use {name}=1 for one, or {name}=0 for none."
        )
    if number >= size:
        raise DataError(f"Got {name}={share:g} of {size} data, which leaves none to train on: use less.")
    return number


SEVERAL = 2**27
"""Data of which a permutation is made to choose those held out; of more they are drawn one by one."""


def held_out(size: int, validation: float | None, test: float | None, seed: int) -> tuple[Tensor, Tensor]:
    """Choose validation and test data among 0, …, size − 1 at random, each in ascending order.

    Raises:
        DataError: see `count`; also where the two leave nothing to train on.
    """
    n_validation, n_test = count(validation, size, "validation"), count(test, size, "test")
    if n_validation + n_test >= size:
        raise DataError(
            f"Got validation={validation:g} and test={test:g} of {size} data, which leaves none to train on: use less."
        )
    number = n_validation + n_test
    source = torch.Generator().manual_seed(seed)
    if number == 0:
        chosen = torch.empty(0, dtype=torch.int64)
    elif size <= SEVERAL:
        chosen = torch.randperm(size, generator=source)[:number].clone()
    else:
        chosen = _distinct(size, number, source)
    return chosen[:n_validation].sort().values, chosen[n_validation:].sort().values


def _distinct(size: int, number: int, source: torch.Generator) -> Tensor:
    """Draw different numbers below `size` in random order, in memory for `number` of them."""
    chosen = torch.empty(0, dtype=torch.int64)
    while len(chosen) < number:
        drawn = torch.cat([chosen, torch.randint(size, (number - len(chosen) + 16,), generator=source)])
        values, places = drawn.unique(return_inverse=True)
        first = torch.full((len(values),), len(drawn)).scatter_reduce_(0, places, torch.arange(len(drawn)), "amin")
        chosen = drawn[first.sort().values]
    return chosen[:number]


def split_indices(size: int, validation: float | None, test: float | None, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Divide 0, …, size − 1 at random into training, validation and test data, each in ascending order.

    Raises:
        DataError: see `held_out`.
    """
    valid, tested = held_out(size, validation, test, seed)
    kept = torch.ones(size, dtype=torch.bool)
    kept[valid], kept[tested] = False, False
    return kept.nonzero().flatten(), valid, tested
