"""Data that stay where they are: columns that are read block by block, of which the last few are in memory."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor

from ppl_vae.datasets.chosen import Chosen, places_of
from ppl_vae.errors import DataError

BLOCK_BYTES, WINDOW_BYTES = 2**20, 2**26
"""Of a block, where the rows of a source come in no blocks of their own, and of the blocks that are in memory."""


class Stored(Protocol):
    """Data outside memory, in blocks of rows.

    Attributes:
        starts: the first row of each block, and after them the number of all rows.
        window: how many blocks may be in memory, and are shuffled together; None for as many as `WINDOW_BYTES` hold.
        sequential: true where blocks can only be read one after the other.
    """

    starts: Sequence[int]
    window: int | None
    sequential: bool

    def load(self, block: int) -> tuple[Any, ...]:
        """Give the arrays of a block, each ``(rows, …)``; x comes first."""
        ...


def equal_starts(rows: int, block: int) -> list[int]:
    """Give the first row of each block of `block` rows, and the number of all.

    Example:
        >>> equal_starts(7, 3), equal_starts(0, 3)
        ([0, 3, 6, 7], [0, 0])
    """
    return [*range(0, max(rows, 1), block), rows]


def rows_of_a_block(row_bytes: int) -> int:
    """Give how many rows of so many bytes make a block of `BLOCK_BYTES`."""
    return max(1, BLOCK_BYTES // max(1, row_bytes))


class Source(Protocol):
    """Where the values of a column are read.

    Attributes:
        starts: the first row of each block, and after them the number of all rows, int64.
        sequential: true where blocks can only be read one after the other.
        at_once: the most rows that are worth reading together; None for any number.
    """

    starts: Tensor
    sequential: bool
    at_once: int | None

    @property
    def window(self) -> int:
        """The number of blocks that are shuffled together."""
        ...

    def take(self, places: Sequence[int], rows: Tensor) -> list[Tensor]:
        """Give some rows of some of the arrays, copies."""
        ...


class Blocks:
    """The blocks of a source, of which those that were used last are kept.

    Args:
        stored: the source.
        convert: makes tensors of the arrays of a block.

    Example:
        >>> class Squares:
        ...     starts, window, sequential = [0, 2, 4], 1, False
        ...     def load(self, block):
        ...         return (torch.tensor([2 * block, 2 * block + 1]).square(),)
        >>> Blocks(Squares(), lambda arrays: arrays).take([0], torch.tensor([3, 0, 2]))
        [tensor([9, 0, 4])]
    """

    def __init__(self, stored: Stored, convert: Callable[[tuple[Any, ...]], tuple[Tensor, ...]]) -> None:
        self.stored, self.convert = stored, convert
        self.sequential = stored.sequential
        self.at_once: int | None = None
        self.starts = torch.as_tensor(stored.starts, dtype=torch.int64)
        self._held: OrderedDict[int, tuple[Tensor, ...]] = OrderedDict()
        filled = (self.starts.diff() > 0).nonzero()
        first = int(filled[0]) if len(filled) else 0
        self._held[first] = self.convert(stored.load(first))
        self.samples = tuple(t[:1].clone() for t in self._held[first])

    @functools.cached_property
    def window(self) -> int:
        """The number of blocks that may be in memory, and are shuffled together."""
        if self.stored.window is not None:
            return self.stored.window
        row = sum(sample.nbytes for sample in self.samples)
        return max(2, WINDOW_BYTES // max(1, row * int(self.starts.diff().max())))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_held": OrderedDict()}  # a copy, in another process say, reads for itself

    def block(self, number: int) -> tuple[Tensor, ...]:
        """Give the tensors of a block, which are not to be changed.

        Raises:
            DataError: where they are of another kind or shape than those of the first block.
        """
        if number not in self._held:
            while self._held and len(self._held) >= self.window:
                self._held.popitem(last=False)  # before the next is read: not one more is in memory
            tensors = self.convert(self.stored.load(number))
            found, expected = _kinds(tensors), _kinds(self.samples)
            if found != expected:
                raise DataError(
                    f"Got data of {found} from datum {int(self.starts[number])} on, expected {expected} as before: "
                    "give all data one type and shape."
                )
            self._held[number] = tensors
        self._held.move_to_end(number)
        return self._held[number]

    def take(self, places: Sequence[int], rows: Tensor) -> list[Tensor]:
        """Give some rows of some of the arrays, copies; each block is read once, in ascending order."""
        samples = [self.samples[place] for place in places]
        found = [sample.new_empty((len(rows), *sample.shape[1:])) for sample in samples]
        numbers = torch.searchsorted(self.starts, rows, right=True) - 1  # of equal starts the last: it has rows
        order, done = numbers.argsort(stable=True), 0
        for number, count in zip(*(t.tolist() for t in numbers.unique(return_counts=True)), strict=True):
            block, part = self.block(number), order[done : done + count]
            own, done = rows[part] - int(self.starts[number]), done + count
            for place, out in zip(places, found, strict=True):
                out.index_copy_(0, part, block[place].index_select(0, own))
        return found


def _kinds(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"{str(t.dtype)[6:]} {tuple(t.shape[1:])}" for t in tensors)


@dataclass(frozen=True, eq=False)
class Column:
    """One tensor of data outside memory, ``(data, …)``: what is read of it is a tensor in memory.

    Args:
        shape: of all data.
        dtype: of their values.
        chosen: which rows of the source they are.
        source: the blocks; None for the numbers of the rows themselves.
        place: of the array among those of a block.
        steps: change what was read, row by row; each takes the values and their rows, and gives values.
        device: where what is read goes.
        root: the column of which this is a part.

    Example:
        >>> numbers = numbered(10, start=5).take(slice(2, 6))
        >>> numbers[1:3], [part.tolist() for part in numbers.split(3)]
        (tensor([8, 9]), [[7, 8, 9], [10]])
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    chosen: Chosen
    source: Source | None = None
    place: int = 0
    steps: tuple[Callable[[Tensor, Tensor], Tensor], ...] = ()
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - a value
    root: Column | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """The number of axes, with that over data."""
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all values, if they were in memory."""
        return prod(self.shape) * self.itemsize

    def numel(self) -> int:
        """The number of values."""
        return prod(self.shape)

    def is_floating_point(self) -> bool:
        """True if the values are floats."""
        return self.dtype.is_floating_point

    def values(self, rows: Tensor) -> Tensor:
        """Give the values of some rows of the source, ``(rows, …)``."""
        return self._changed(rows if self.source is None else self.source.take([self.place], rows)[0], rows)

    def _changed(self, x: Tensor, rows: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x, rows)
        return x.to(self.device)

    def rows(self, at: slice | Tensor) -> Tensor:
        """Give the rows of the source at some places."""
        return self.chosen.at(places_of(at, len(self)) if isinstance(at, slice) else at.cpu())

    def __getitem__(self, at: int | slice | Tensor) -> Tensor:
        """Read some of the data: a copy in memory."""
        if isinstance(at, int):
            return self.values(self.rows(torch.tensor([range(len(self))[at]])))[0]
        return self.values(self.rows(at))

    @staticmethod
    def read(columns: Sequence[Column], at: slice | Tensor) -> list[Tensor]:
        """Read the same places of columns of the same data; those of one source together."""
        found: dict[int, Tensor] = {}
        for source in {id(c.source): c.source for c in columns}.values():
            some = [i for i, c in enumerate(columns) if c.source is source]
            rows = columns[some[0]].rows(at)
            taken = [rows] * len(some) if source is None else source.take([columns[i].place for i in some], rows)
            found |= {i: columns[i]._changed(x, rows) for i, x in zip(some, taken, strict=True)}
        return [found[i] for i in range(len(columns))]

    def split(self, size: int) -> Iterator[Tensor]:
        """Read all of the data, at most so many at a time."""
        size = min(size, (self.source and self.source.at_once) or size)
        for start in range(0, len(self), size):
            yield self.values(self.chosen.at(torch.arange(start, min(start + size, len(self)))))

    def cpu(self) -> Tensor:
        """Read all of the data at once."""
        return self.to(torch.device("cpu"))[:]

    def take(self, at: slice | Tensor | Chosen) -> Column:
        """Give a part of the data, unread."""
        chosen = at if isinstance(at, Chosen) else self.chosen.part(at if isinstance(at, slice) else at.cpu())
        return replace(self, shape=(chosen.size, *self.shape[1:]), chosen=chosen, root=self.root or self)

    def to(self, kind: torch.device | torch.dtype | str) -> Column:
        """Give the same data of another dtype, or on another device, unread."""
        if isinstance(kind, torch.dtype):
            return self if kind == self.dtype else self.each(functools.partial(_cast, dtype=kind))
        return replace(self, device=torch.device(kind))

    def each(self, step: Callable[[Tensor, Tensor], Tensor]) -> Column:
        """Give the data changed row by row when they are read.

        Args:
            step: takes values, ``(rows, …)``, and the rows of the source that they are of; gives values that are no
                larger, of which as many are missing. A function with a name, so that the data can be pickled.
        """
        none = step(torch.empty((0, *self.shape[1:]), dtype=self.dtype), torch.empty(0, dtype=torch.int64))
        return replace(
            self,
            shape=(len(self), *none.shape[1:]),
            dtype=none.dtype,
            steps=(*self.steps, step),
            root=self.root or self,
        )

    @functools.cached_property
    def facts(self) -> Facts:
        """Properties of the values, found in one pass through the data."""
        return survey(self.split(4096))

    @property
    def known(self) -> Facts:
        """Facts of the whole, which bound those of a part."""
        return (self.root or self).facts

    @property
    def missing(self) -> int:
        """The number of values that are NaN."""
        return self.facts.missing if self.known.missing else 0

    @property
    def infinite(self) -> bool:
        """True if a value is infinite."""
        return self.known.infinite and self.facts.infinite


def numbered(size: int, start: int = 0) -> Column:
    """Give the numbers start, …, start + size − 1, int64 ``(size,)``, without memory for them."""
    return Column((size,), torch.int64, Chosen(size), steps=(functools.partial(_shifted, start=start),))


def _shifted(x: Tensor, rows: Tensor, start: int) -> Tensor:
    return x + start


def _cast(x: Tensor, rows: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype)


@dataclass(frozen=True)
class Facts:
    """Properties of all values, those apart that are missing.

    Attributes:
        missing: how many are NaN.
        infinite: whether one is infinite.
        low: the smallest.
        high: the largest.
        whole: whether all are whole numbers.
    """

    missing: int
    infinite: bool
    low: float
    high: float
    whole: bool


def survey(parts: Iterator[Tensor]) -> Facts:
    """Look at all values once.

    Example:
        >>> survey(iter([torch.tensor([1.0, 2.0]), torch.tensor([float("nan"), 0.5])]))
        Facts(missing=1, infinite=False, low=0.5, high=2.0, whole=False)
    """
    missing, infinite, low, high, whole = 0, False, float("inf"), -float("inf"), True
    for part in parts:
        known = part
        if part.is_floating_point() and not torch.isfinite(part.sum()):
            gaps = part.isnan()
            missing, infinite, known = missing + int(gaps.sum()), infinite or bool(part.isinf().any()), part[~gaps]
        if known.numel():
            least, most = known.aminmax()
            low, high = min(low, float(least)), max(high, float(most))
            whole = whole and (not known.is_floating_point() or bool((known == known.round()).all()))
    return Facts(missing, infinite, low, high, whole)
