"""Data sets of torch: items by number, or one after the other, put together to blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from ppl_vae.datasets.blocks import equal_starts, rows_of_a_block
from ppl_vae.errors import DataError


class Items:
    """A `torch.utils.data.Dataset` as a source of blocks.

    An item is a datum: a tensor, an array, a number, or a tuple of them, which are the arguments of the programs. Items
    are asked for by number with ``__getitems__``, where there is one, else ``__getitem__``. Those of an iterable come
    one after the other: to go back, it is begun again, and to go on elsewhere, what comes before is passed over. An
    item has to be the same each time it is asked for.

    Args:
        data: the data set, with a length.
        what: its name in messages.

    Raises:
        DataError: where there is no length, or items are nothing of that kind.
    """

    chosen = False
    window: int | None = None

    def __init__(self, data: Any, what: str) -> None:
        self.data, self.what, self.sequential = data, f"a {type(data).__name__} as {what}", is_sequential(data)
        self._ahead: Iterator[Any] = iter(())
        self._next = -1
        try:
            size = len(data)
        except (TypeError, NotImplementedError):
            raise DataError(
                f"Got {self.what} without a length, expected len() of it: so many data are an epoch, and the size N of "
                "the data set enters the bound. Give the class a method __len__."
            ) from None
        sample = self._put_together(self._items(0, 1)) if size else ()
        row = sum(prod(part.shape) * part.dtype.itemsize for part in sample)  # sparse tensors have no nbytes
        self.starts: Sequence[int] = equal_starts(size, rows_of_a_block(row))
        self._next = -1

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ahead": iter(()), "_next": -1}

    def load(self, block: int) -> tuple[Any, ...]:
        """Give the items of a block as arrays ``(rows, …)``, one per argument of the programs.

        Raises:
            DataError: for items that do not go together, and an iterable that ends before its length.
        """
        start, stop = self.starts[block], self.starts[block + 1]
        return self._put_together(self._items(start, stop)) if stop > start else (torch.empty(0, 0),)

    def _items(self, start: int, stop: int) -> list[Any]:
        if not self.sequential:
            if hasattr(self.data, "__getitems__"):
                return list(self.data.__getitems__(list(range(start, stop))))
            return [self.data[i] for i in range(start, stop)]
        if self._next != start:
            self._ahead = itertools.islice(iter(self.data), start, None)
        items, self._next = list(itertools.islice(self._ahead, stop - start)), stop
        if len(items) < stop - start:
            self._next = -1
            raise DataError(
                f"Got {self.what} that ended after {start + len(items)} items, expected {len(self.data)}, its length: "
                "let it give as many each time it is gone through."
            )
        return items

    def _put_together(self, items: list[Any]) -> tuple[Any, ...]:
        if isinstance(items[0], tuple | list):
            widths = {len(item) if isinstance(item, tuple | list) else None for item in items}
            if len(widths) > 1 or widths == {0}:
                raise DataError(f"Got {self.what} with items of different lengths, or of none, expected one length.")
            columns = enumerate(zip(*items, strict=True))
            return tuple(self._stacked(parts, f"part {i} of an item") for i, parts in columns)
        return (self._stacked(items, "an item"),)

    def _stacked(self, parts: Sequence[Any], place: str) -> Any:
        if not isinstance(parts[0], Tensor | np.ndarray | np.generic | bool | int | float):
            raise DataError(
                f"Got {self.what} with a {type(parts[0]).__name__} as {place}, expected a tensor, an array, a number, "
                "or a tuple of them: convert it in the data set (torchvision: transform=ToTensor(); of a dict, "
                "give its values as a tuple)."
            )
        try:
            return (
                torch.stack(list(parts)) if isinstance(parts[0], Tensor) else np.stack([np.asarray(p) for p in parts])
            )
        except (RuntimeError, TypeError, ValueError) as error:
            raise DataError(
                f"Got {self.what} with parts that cannot be put together ({error}), expected one shape and kind of "
                f"{place}."
            ) from None


def is_sequential(data: object) -> bool:
    """Tell whether items come one after the other only."""
    return isinstance(data, IterableDataset) or not hasattr(data, "__getitem__")
