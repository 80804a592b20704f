"""Whatever a user calls an array, as a tensor in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.errors import DataError

# torch computes with few unsigned types: the next signed one that holds all values
_WIDER = {
    "uint16": np.int32,
    "uint32": np.int64,
    "uint64": np.int64,
    "float16": np.float32,
    "longdouble": np.float64,
}


def as_tensor(array: Any, what: str, dtype: torch.dtype | None = None, *, exact: bool = False) -> Tensor:
    """Give a contiguous tensor of the array's values.

    Tensors keep their dtype and device, for they were chosen; numpy's float64 is numpy's default rather than
    a choice, and becomes torch's default dtype. Integers and booleans stay what they are, in a type torch
    computes with.

    Args:
        array: a numpy array, a torch tensor, nested lists of numbers, or a table with ``to_numpy``.
        what: its name in messages, such as ``train``.
        dtype: what floating-point values become instead.
        exact: lose no digit yet: keep float64 where it comes from, whatever `dtype`.

    Raises:
        DataError: for anything else: text, objects, ragged lists, complex or sparse or masked values,
            scalars.
    """
    if isinstance(array, Tensor):
        if array.layout != torch.strided:
            raise DataError(f"Got a sparse tensor as {what}, expected a dense one: call .to_dense() on it.")
        tensor = array.detach()
        if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64):
            tensor = tensor.to(torch.int32 if tensor.dtype == torch.uint16 else torch.int64)
    else:
        tensor = torch.from_numpy(_as_native(array, what))
        if dtype is None and tensor.dtype == torch.float64 and not exact:
            tensor = tensor.to(torch.get_default_dtype())
    if tensor.ndim == 0:
        raise DataError(f"Got a single number as {what}, expected an array with a first axis over data.")
    if tensor.is_complex():
        raise DataError(f"Got complex numbers as {what}, expected real ones: give torch.view_as_real of them.")
    if dtype is not None and tensor.is_floating_point() and not exact:
        tensor = tensor.to(dtype)
    return tensor.contiguous()


def _as_native(array: Any, what: str) -> np.ndarray[Any, Any]:
    if hasattr(array, "toarray") and not isinstance(array, np.ndarray):
        raise DataError(f"Got a sparse matrix as {what}, expected a dense array: call .toarray() on it.")
    if isinstance(array, np.ma.MaskedArray) and array.mask.any():
        raise DataError(
            f"Got {int(array.mask.sum())} masked values in {what}, expected none: fill them or drop the data."
        )
    if isinstance(array, str | bytes | dict) or hasattr(array, "read"):
        raise DataError(
            f"Got {type(array).__name__} as {what}, expected an array. For a file use "
            "ppl_vae.datasets.npz, npy, idx, csv or parquet."
        )
    try:
        values = np.asarray(array)
    except ValueError as error:
        raise DataError(
            f"Got {what} that is no array ({error}), expected every datum to have the same shape."
        ) from None
    if values.dtype.kind not in "biufc":
        first = repr(values.flat[0])[:40] if values.size else "nothing"
        raise DataError(
            f"Got {what} of dtype {values.dtype} (first value {first}), expected numbers: encode text or "
            "categories as numbers first, or give them as labels."
        )
    values = values.astype(_WIDER.get(values.dtype.name, values.dtype.newbyteorder("=")), copy=False)
    # torch refuses read-only memory (a memory-mapped file) and negative strides
    return np.require(values, requirements=["C", "W"])


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """Read ``"float64"`` as ``torch.float64``; a dtype or None stays itself.

    Raises:
        DataError: for what is no floating-point dtype.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found is not None and not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise DataError(f"Got dtype={dtype!r}, expected a floating-point one: float32, float64, float16 or bfloat16.")
    if found is None and dtype is not None:
        raise DataError(f"Got dtype={dtype!r}, expected float32, float64, float16 or bfloat16.")
    return found
