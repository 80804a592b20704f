"""Sparse matrices that stay sparse: rows are made dense when a batch takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_vae.datasets.blocks import WINDOW_BYTES, Column
from ppl_vae.datasets.chosen import Chosen


class SparseRows:
    """The rows of a sparse matrix (CSR) in memory, a `Source` of one block: any of them are as near as any others.

    Args:
        values: that are stored, row after row.
        columns: of them, int.
        ends: how many values come before each row, and after the last, int64.
        width: the number of columns.

    Example:
        >>> rows = SparseRows(torch.tensor([7.0, 8.0]), torch.tensor([2, 0]), torch.tensor([0, 1, 2]), 3)
        >>> rows.take([0], torch.tensor([1, 0, 1]))[0].tolist()
        [[8.0, 0.0, 0.0], [0.0, 0.0, 7.0], [8.0, 0.0, 0.0]]
    """

    sequential, window = False, 1

    def __init__(self, values: Tensor, columns: Tensor, ends: Tensor, width: int) -> None:
        self.values, self.columns, self.ends, self.width = values, columns, ends, width
        self.starts = torch.tensor([0, len(ends) - 1])
        self.at_once: int | None = max(1, WINDOW_BYTES // max(1, width * values.dtype.itemsize))

    def take(self, places: Sequence[int], rows: Tensor) -> list[Tensor]:
        """Give some rows, dense `(rows, columns)`."""
        first, counts = self.ends[rows], self.ends[rows + 1] - self.ends[rows]
        row = torch.repeat_interleave(torch.arange(len(rows)), counts)
        at = torch.arange(len(row)) + (first - counts.cumsum(0) + counts)[row]
        dense = torch.zeros(len(rows), self.width, dtype=self.values.dtype)
        dense[row, self.columns[at].long()] = self.values[at]
        return [dense for _ in places]


def is_sparse(array: Any) -> bool:
    """Tell whether an array is a sparse matrix of scipy or torch, ``(data, columns)``."""
    sparse = array.layout != torch.strided if isinstance(array, Tensor) else hasattr(type(array), "tocsr")
    return sparse and len(array.shape) == 2


def sparse_column(matrix: Any, convert: Callable[[Any], Tensor]) -> Column:
    """Give a sparse matrix as data of which batches are dense.

    Args:
        matrix: of scipy or torch, ``(data, columns)``.
        convert: makes a tensor of the values that are stored.
    """
    import scipy.sparse

    if isinstance(matrix, Tensor):
        coo = matrix.detach().cpu().to_sparse_coo().coalesce()
        values, (row, columns) = coo.values(), coo.indices()
        ends = torch.cat([row.new_zeros(1), row.bincount(minlength=len(matrix)).cumsum(0)])
    else:
        csr = scipy.sparse.csr_array(matrix)  # shares its values with the user's
        if not csr.has_canonical_format:
            csr = csr.copy()
            csr.sum_duplicates()
        values, columns, ends = csr.data, torch.from_numpy(csr.indices), torch.from_numpy(csr.indptr).long()
    rows, width = (int(size) for size in matrix.shape)
    found = convert(values)
    return Column((rows, width), found.dtype, Chosen(rows), SparseRows(found, columns, ends, width))
