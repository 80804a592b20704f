"""Sparse matrices as `scipy.sparse.save_npz` writes them: read as the matrices that they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ppl_vae.datasets.files import check_fits
from ppl_vae.errors import DataError

_MEMBERS = {
    "csr": {"indices", "indptr", "format", "shape", "data"},
    "coo": {"row", "col", "format", "shape", "data"},
    "dia": {"offsets", "format", "shape", "data"},
}


def is_sparse(members: Collection[str]) -> bool:
    """Whether the arrays of an archive are those of one sparse matrix.

    Example:
        >>> is_sparse({"indices", "indptr", "format", "shape", "data", "_is_array"}), is_sparse({"data", "shape"})
        (True, False)
    """
    return any(needed <= set(members) for needed in _MEMBERS.values())


def read_sparse(arrays: Mapping[str, Any], what: str) -> np.ndarray[Any, Any]:
    """Give the dense matrix.

    Args:
        arrays: of the archive, by name.
        what: the file, for messages.

    Raises:
        DataError: for another format than csr, csc and coo, arrays that do not fit together, and a matrix that is
            larger than the memory that is free.

    Example:
        >>> parts = {"format": np.array(b"csr"), "shape": np.array([2, 3]), "data": np.array([7, 8])}
        >>> read_sparse({**parts, "indices": np.array([2, 0]), "indptr": np.array([0, 1, 2])}, "x.npz").tolist()
        [[0, 0, 7], [8, 0, 0]]
    """
    kind = np.asarray(arrays["format"]).item()
    kind = kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)
    if kind not in ("csr", "csc", "coo"):
        raise DataError(f"Got {what} with a sparse matrix of format {kind!r}, expected csr, csc or coo: .tocsr() it.")
    shape, data = np.asarray(arrays["shape"]), np.asarray(arrays["data"])
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or (shape < 1).any() or data.ndim != 1:
        raise DataError(f"Got {what} with a sparse array of shape {shape.tolist()}, expected a matrix (data, columns).")
    if data.dtype.kind not in "biuf":
        raise DataError(f"Got {what} with a sparse matrix of dtype {data.dtype}, expected numbers.")
    n, columns = (int(size) for size in shape)
    check_fits(n * columns * data.dtype.itemsize, f"{what}, a sparse matrix", "Take fewer columns, or fewer data.")
    row, col = _places(arrays, kind, (n, columns))
    fits = row.shape == col.shape == data.shape and row.dtype.kind in "iu" and col.dtype.kind in "iu"
    if not fits or (data.size and (row.min() < 0 or col.min() < 0 or row.max() >= n or col.max() >= columns)):
        raise DataError(
            f"Got {what}, whose {kind} matrix of shape {(n, columns)} does not fit together, expected one that "
            "scipy.sparse.save_npz wrote: copy or download it again."
        )
    dense = np.zeros((n, columns), data.dtype)
    np.add.at(dense, (row, col), data)  # entries that stand twice add up, as in scipy
    return dense


def _places(arrays: Mapping[str, Any], kind: str, shape: tuple[int, int]) -> tuple[Any, Any]:
    """Row and column of each entry."""
    if kind == "coo":
        return np.asarray(arrays["row"]), np.asarray(arrays["col"])
    ends, inner = np.asarray(arrays["indptr"]), np.asarray(arrays["indices"])
    outer = shape[0] if kind == "csr" else shape[1]
    counts = np.diff(ends) if ends.ndim == 1 and ends.dtype.kind in "iu" and len(ends) == outer + 1 else np.array([-1])
    if (counts < 0).any() or ends[0] != 0:
        return np.empty(0), np.empty(1)
    major = np.repeat(np.arange(outer), counts)
    return (major, inner) if kind == "csr" else (inner, major)
