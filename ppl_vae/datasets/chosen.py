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
        without: ascending rows that are left out of a run.
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
    without: Tensor | None = field(default=None, repr=False)
    listed: Tensor | None = field(default=None, repr=False)

    @staticmethod
    def all_but(size: int, without: Tensor) -> Chosen:
        """All of `size` rows but those given, which ascend."""
        return Chosen(size - len(without), without=without if len(without) else None)

    @staticmethod
    def of(rows: Tensor) -> Chosen:
        """The rows given, int64 ``(size,)``, in their order."""
        return Chosen(len(rows), listed=rows)

    @property
    def ascending(self) -> bool:
        """True if a later place has a later row."""
        return self.listed is None or bool((self.listed.diff() > 0).all())

    def at(self, places: Tensor) -> Tensor:
        """Give the rows at some places, int64 of their shape."""
        if self.listed is not None:
            return self.listed[places]
        places = places + self.first
        return places if self.without is None else places + torch.searchsorted(self._kept_before(), places, right=True)

    def before(self, rows: Tensor) -> Tensor:
        """Give how many of the rows chosen come before each of `rows`; of rows that ascend."""
        if self.listed is not None:
            return torch.searchsorted(self.listed, rows)
        left_out = 0 if self.without is None else torch.searchsorted(self.without, rows)
        return (rows - left_out - self.first).clamp(0, self.size)

    def part(self, at: slice | Tensor) -> Chosen:
        """Choose among the rows chosen."""
        if isinstance(at, slice):
            start, stop, step = at.indices(self.size)
            if self.listed is not None:
                return Chosen.of(self.listed[at].contiguous())
            if step == 1:
                return replace(self, size=max(0, stop - start), first=self.first + start)
            at = torch.arange(start, max(start, stop), step)
        return Chosen.of(self.at(at))

    def _kept_before(self) -> Tensor:
        assert self.without is not None
        return self.without - torch.arange(len(self.without))
