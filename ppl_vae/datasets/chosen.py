"""Numbers of rows in an order, in little memory: a run of them, all but a few, or a list."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Chosen:
    """Rows of a source, one for each place 0, …, size − 1.

    Args:
        size: how many there are.
        first: places of the whole that come before place 0, where the rows are a run, or all but a few.
        passed: of each row that is left out of a run, ascending, how many rows before it are not.
        listed: the rows one by one, in place of a run.

    Example:
        >>> rows = Chosen.all_but(8, torch.tensor([2, 3, 6]))
        >>> rows.at(torch.arange(5)), rows.before(torch.tensor([0, 3, 8]))
        (tensor([0, 1, 4, 5, 7]), tensor([0, 2, 5]))
        >>> rows.part(slice(1, 3)).at(torch.arange(2))
        tensor([1, 4])
    """

    size: int
    first: int = 0
    passed: Tensor | None = field(default=None, repr=False)
    listed: Tensor | None = field(default=None, repr=False)

    @staticmethod
    def all_but(size: int, without: Tensor) -> Chosen:
        """All of `size` rows but those given, which ascend."""
        passed = without - torch.arange(len(without))
        return Chosen(size - len(without), passed=passed if len(without) else None)

    @staticmethod
    def of(rows: Tensor) -> Chosen:
        """The rows given, int64 ``(size,)``, in their order."""
        return Chosen(len(rows), listed=rows)

    @property
    def ascending(self) -> bool:
        """True if a later place has a later row."""
        return self.listed is None or bool((self.listed.diff() > 0).all())

    def at(self, places: Tensor) -> Tensor:
        """Give the rows at some places, int64 of their shape.

        Raises:
            IndexError: for a place below 0 or above the last; beyond it are rows that were not chosen.
        """
        if places.numel():
            least, most = (int(bound) for bound in places.aminmax())
            if least < 0 or most >= self.size:
                raise IndexError(f"Got place {least if least < 0 else most} of {self.size} rows.")
        if self.listed is not None:
            return self.listed[places]
        places = places + self.first
        return places if self.passed is None else places + torch.searchsorted(self.passed, places, right=True)

    def before(self, rows: Tensor) -> Tensor:
        """Give how many of the rows chosen come before each of `rows`; of rows that ascend."""
        if self.listed is not None:
            return torch.searchsorted(self.listed, rows)
        left_out: Tensor | int = 0
        if self.passed is not None:
            left_out = torch.searchsorted(self.passed + torch.arange(len(self.passed)), rows)
        return (rows - left_out - self.first).clamp(0, self.size)

    def part(self, at: slice | Tensor) -> Chosen:
        """Choose among the rows chosen."""
        if isinstance(at, slice):
            if self.listed is not None:
                return Chosen.of(self.listed[at].contiguous())
            start, stop, step = at.indices(self.size)
            if step == 1:
                return replace(self, size=max(0, stop - start), first=self.first + start)
            at = places_of(at, self.size)
        return Chosen.of(self.at(at))


def places_of(at: slice, size: int) -> Tensor:
    """Give the places of `size` that a slice selects.

    Raises:
        ValueError: for a step below 1, as of a tensor.
    """
    start, stop, step = at.indices(size)
    if step < 1:
        raise ValueError(f"Got a slice with a step of {step}, expected at least 1.")
    return torch.arange(start, max(start, stop), step)
