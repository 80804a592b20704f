"""Whatever a user calls an array, as a tensor in memory; of an image, (channels, height, width)."""

from __future__ import annotations

import warnings
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ppl_vae.datasets.files import check_fits
from ppl_vae.datasets.support import check_finite
from ppl_vae.errors import DataError

# torch computes with few unsigned types: the next signed one that holds all values
_WIDER = {
    "uint16": np.int32,
    "uint32": np.int64,
    "uint64": np.int64,
    "float16": np.float32,
    "longdouble": np.float64,
}
_UNSIGNED = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}
_MOST = 2**63 - 1


def as_tensor(array: Any, what: str, dtype: torch.dtype | None = None, *, exact: bool = False) -> Tensor:
    """Give a contiguous tensor of the array's values.

    Tensors keep their dtype and device, for they were chosen; numpy's float64 is numpy's default rather than
    a choice, and becomes torch's default dtype. Integers and booleans stay what they are, in a type torch
    computes with. An array that is mapped from a file stays mapped where torch can compute with its type.

    Args:
        array: a numpy array, a torch tensor, nested lists of numbers, a table with ``to_numpy``, a sparse matrix.
        what: its name in messages, such as ``train``.
        dtype: what floating-point values become instead.
        exact: lose no digit yet: keep float64 where it comes from, whatever `dtype`.

    Raises:
        DataError: for anything else: text, objects, ragged lists, complex values, scalars; integers above 2⁶³ − 1.

    Example:
        >>> as_tensor([[1, 2], [3, 4]], "x")
        tensor([[1, 2],
                [3, 4]])
    """
    if isinstance(array, Tensor):
        tensor = _dense(array.detach(), what)
        if tensor.dtype in _UNSIGNED:
            wide = tensor.to(_UNSIGNED[tensor.dtype])
            if tensor.dtype == torch.uint64 and bool((wide < 0).any()):
                _too_large(what)
            tensor = wide
    else:
        tensor = _from_numpy(_as_native(array, what))
        mapped = isinstance(array, np.memmap)
        if dtype is None and tensor.dtype == torch.float64 and not exact and not mapped:
            tensor = tensor.to(torch.get_default_dtype())
    if tensor.ndim == 0:
        raise DataError(f"Got a single number as {what}, expected an array with a first axis over data.")
    if tensor.is_complex():
        raise DataError(f"Got complex numbers as {what}, expected real ones: give torch.view_as_real of them.")
    if dtype is not None and tensor.is_floating_point() and not exact:
        tensor = tensor.to(dtype)
    return tensor.contiguous()


def as_tensors(
    arrays: Any, name: str, dtype: torch.dtype | None = None, *, exact: bool = False, exact_x: bool = False
) -> tuple[Tensor, ...]:
    """Convert one split's array or tuple of arrays, and refuse what cannot be data.

    Args:
        arrays: an array, a tuple of arrays that share their first axis, or a `TensorDataset`.
        name: of the split, for messages.
        dtype: see `as_tensor`.
        exact: see `as_tensor`.
        exact_x: the same for the first of them alone.

    Raises:
        DataError: for no data, several numbers of data, infinite values, and what `as_tensor` refuses.
    """
    if isinstance(arrays, TensorDataset):
        arrays = arrays.tensors
    if isinstance(arrays, torch.utils.data.Dataset | DataLoader):
        raise DataError(
            f"Got a {type(arrays).__name__} as {name}, expected its tensors, which are drawn from at once rather than "
            "one by one: torchvision's sets have them as .data and .targets; else stack the items."
        )
    several = isinstance(arrays, tuple)
    names = [f"{name}[{i}]" for i in range(len(arrays))] if several and len(arrays) != 1 else [name]
    entries = arrays if several else (arrays,)
    tensors = tuple(
        as_tensor(a, n, dtype, exact=exact or (exact_x and i == 0))
        for i, (a, n) in enumerate(zip(entries, names, strict=True))
    )
    if not tensors:
        raise DataError(f"Got an empty tuple as {name}, expected at least one array: x.")
    for tensor, n in zip(tensors, names, strict=True):
        check_any(tensor, n, is_x=tensor is tensors[0])
        if len(tensor) != len(tensors[0]):
            raise DataError(
                f"Got {len(tensors[0])} data in {names[0]} and {len(tensor)} in {n}, expected the same "
                "number: the arrays of a tuple share their first axis."
            )
        check_finite(tensor, n)
    return tensors


def check_any(tensor: Tensor, what: str, *, is_x: bool) -> None:
    """Refuse a tensor of no data, or an x of no columns.

    Raises:
        DataError: if it is.
    """
    if len(tensor) == 0 or (is_x and tensor.numel() == 0):
        raise DataError(f"Got {what} of shape {tuple(tensor.shape)}, which holds no data, expected at least one datum.")


def _dense(tensor: Tensor, what: str) -> Tensor:
    if tensor.layout == torch.strided:
        return tensor
    check_fits(tensor.numel() * tensor.element_size(), f"a sparse {what}", "Take fewer columns, or fewer data.")
    return tensor.to_dense()


def _from_numpy(values: np.ndarray[Any, Any]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of read-only memory: batches are copies, see `Split.batch`
        return torch.from_numpy(values)


def _as_native(array: Any, what: str) -> np.ndarray[Any, Any]:
    if hasattr(array, "toarray") and not isinstance(array, np.ndarray):
        size = int(np.prod(array.shape)) * np.dtype(array.dtype).itemsize
        check_fits(size, f"a sparse {what}", "Take fewer columns, or fewer data.")
        array = array.toarray()
    if isinstance(array, np.ma.MaskedArray):
        array = _filled(array, what)
    if isinstance(array, str | bytes | dict) or hasattr(array, "read"):
        raise DataError(
            f"Got {type(array).__name__} as {what}, expected an array. For a file use "
            "ppl_vae.datasets.npz, npy, idx, csv or parquet."
        )
    try:
        values = np.asarray(array)
        if values.dtype.kind == "O" and hasattr(array, "to_numpy"):  # pandas' nullable types, booleans beside numbers
            values = array.to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"Got {what} that is no array ({error}), expected every datum to have the same shape, of numbers."
        ) from None
    if values.dtype.kind not in "biufc":
        first = repr(values.flat[0])[:40] if values.size else "nothing"
        raise DataError(
            f"Got {what} of dtype {values.dtype} (first value {first}), expected numbers: encode text or "
            "categories as numbers first, or give them as labels."
        )
    if values.dtype.kind == "u" and values.dtype.itemsize == 8 and values.size and int(values.max()) > _MOST:
        _too_large(what)
    values = values.astype(_WIDER.get(values.dtype.name, values.dtype.newbyteorder("=")), copy=False)
    return np.require(values, requirements="C")  # torch refuses negative strides


def _filled(array: np.ma.MaskedArray[Any, Any], what: str) -> np.ndarray[Any, Any]:
    """A masked array with NaN where it is masked."""
    if not array.mask.any():
        return array.data
    if array.dtype.kind != "f":
        raise DataError(
            f"Got {int(array.mask.sum())} masked values in {what} of {array.dtype}, expected none: missing values are "
            "NaN, which only floats hold. Give array.astype(float), or a mask as a further array of a tuple."
        )
    return array.filled(np.nan)


def _too_large(what: str) -> None:
    raise DataError(
        f"Got integers above 2⁶³ − 1 in {what}, expected such as int64 holds: hash codes, for instance, can be "
        "numbered from 0 (numpy.unique(…, return_inverse=True))."
    )


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


Channels = Literal["keep", "auto", "first", "last", "none"]
_COLOURS = (1, 3, 4)  # grey, RGB, RGB with opacity


def looks_channels_last(x: Tensor) -> bool:
    """Whether x is ``(data, height, width, channels)`` and cannot be ``(data, channels, height, width)``."""
    return x.ndim == 4 and x.shape[3] in _COLOURS and x.shape[1] not in _COLOURS


def channels_first(x: Tensor, channels: Channels | None, what: str = "x") -> Tensor:
    """Bring images to ``(data, channels, height, width)``.

    Args:
        x: the images.
        channels: ``first`` and ``last`` say where the channels are, ``none`` that there is no such axis;
            ``auto`` finds out, for a number of channels of 1, 3 or 4; ``keep`` leaves every shape as it is.
            None is ``keep``, but refuses uint8 images with the channels last, which would otherwise train a
            wrong model unnoticed.
        what: name of x in messages.

    Raises:
        DataError: for shapes that are no images in the layout given.
    """
    if channels not in (None, *get_args(Channels)):
        raise DataError(f"Got channels={channels!r}, expected one of {', '.join(get_args(Channels))}.")
    if channels is None and x.dtype == torch.uint8 and looks_channels_last(x):
        raise DataError(
            f"Got {what} of shape {tuple(x.shape)}, whose channels seem to come last, expected (data, "
            "channels, height, width): give channels='last' to have them moved, or channels='keep' for a "
            "model that wants this."
        )
    if channels is None or channels == "keep" or (channels == "auto" and x.ndim not in (3, 4)):
        return x
    if channels == "auto":
        channels = "none" if x.ndim == 3 else "last" if looks_channels_last(x) else "first"
    wanted = 3 if channels == "none" else 4
    if x.ndim != wanted:
        raise DataError(
            f"Got {what} of shape {tuple(x.shape)} with channels={channels!r}, expected {wanted} axes: "
            f"{'(data, height, width)' if wanted == 3 else '(data, height, width, channels) in some order'}."
        )
    if channels == "none":
        return x.unsqueeze(1)
    return x.permute(0, 3, 1, 2).contiguous() if channels == "last" else x
