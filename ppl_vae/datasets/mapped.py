"""Arrays that are mapped from a file: each block of rows is copied when it is asked for."""

from __future__ import annotations

import mmap
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.datasets.blocks import equal_starts, rows_of_a_block
from ppl_vae.datasets.files import Unchanged

Array = np.ndarray[Any, Any]


class Mapped:
    """The rows of a mapped array, of any layout, byte order and dtype, as a source of blocks.

    Args:
        array: ``(data, …)``.
        file: it is mapped from, which must not change.
        block: rows of a block; by default as many as come to 1 MiB.
        window: blocks in memory; by default as many as come to 64 MiB.
        chosen: whether float64 was chosen, rather than what numpy gives by itself.
    """

    sequential = False

    def __init__(
        self, array: Array, file: Path | None, block: int | None = None, window: int | None = None, chosen: bool = False
    ) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        rows = block or rows_of_a_block(array.dtype.itemsize * prod(array.shape[1:]))
        self.starts, self.window, self.chosen = equal_starts(len(array), rows), window, chosen
        self._file = None if file is None else Unchanged(file)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | ({} if self._file is None else {"array": None})  # the file is not put into a pickle

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._file is not None:
            self._file.check()
            self.array = np.load(self._file.file, mmap_mode="r", allow_pickle=False)

    def load(self, block: int) -> tuple[Array]:
        """Give a copy of the rows of a block.

        Raises:
            DataError: where the file is not what it was.
        """
        if self._file is not None:
            self._file.check()  # reading beyond the end of a mapped file ends the process without a word
        return (np.array(self.array[self.starts[block] : self.starts[block + 1]], order="C", subok=False),)


def is_mapped(array: object) -> bool:
    """Tell whether an array is mapped from a file: what is computed from such an array is of its class, too."""
    if not isinstance(array, np.memmap) or not array.ndim or not array.size:
        return False
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap)


def of_user(array: Any) -> Mapped:
    """The source of an array that somebody else has mapped, who may write to it."""
    return Mapped(array, None, chosen=True)
