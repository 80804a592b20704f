"""Arrays and labels of any kind as tensors, in memory or read by block; of an image, (channels, height, width)."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ppl_vae.datasets.blocks import Blocks, Column
from ppl_vae.datasets.chosen import Chosen
from ppl_vae.datasets.files import check_fits
from ppl_vae.datasets.outside import outside
from ppl_vae.datasets.sparse import is_sparse, sparse_column
from ppl_vae.datasets.support import check_finite
from ppl_vae.errors import DataError

# torch computes with few unsigned types: the next signed one that holds all values
_SIGNED = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}


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
    chosen = isinstance(array, Tensor | np.memmap)
    if array.layout != torch.strided if isinstance(array, Tensor) else hasattr(type(array), "toarray"):
        size = math.prod(array.shape) * array.dtype.itemsize
        check_fits(size, f"a sparse {what}", "Take fewer columns, or fewer data.")
        array = array.to_dense() if isinstance(array, Tensor) else array.toarray()
    tensor = array.detach() if isinstance(array, Tensor) else _from_numpy(_as_numpy(array, what))
    if tensor.dtype in _SIGNED:
        unsigned, tensor = tensor.dtype, tensor.to(_SIGNED[tensor.dtype])
        if unsigned == torch.uint64 and bool((tensor < 0).any()):
            raise DataError(
                f"Got integers above 2⁶³ − 1 in {what}, expected such as int64 holds: hash codes, for instance, can be "
                "numbered from 0 (numpy.unique(…, return_inverse=True))."
            )
    if tensor.ndim == 0:
        raise DataError(f"Got a single number as {what}, expected an array with a first axis over data.")
    if tensor.is_complex():
        raise DataError(f"Got complex numbers as {what}, expected real ones: give torch.view_as_real of them.")
    if tensor.is_floating_point() and not exact:
        if dtype is not None:
            tensor = tensor.to(dtype)
        elif tensor.dtype == torch.float64 and not chosen:
            tensor = tensor.to(torch.get_default_dtype())
    return tensor.contiguous()


def _from_numpy(values: np.ndarray[Any, Any]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of read-only memory: batches are copies, see `Split.batch`
        return torch.from_numpy(values)


def _as_numpy(array: Any, what: str) -> np.ndarray[Any, Any]:
    """Give an array of numbers that torch can share: in native byte order, of a type that it knows, contiguous."""
    if isinstance(array, str | bytes | dict) or hasattr(type(array), "read"):  # a column may be called so
        raise DataError(
            f"Got {type(array).__name__} as {what}, expected an array. For a file use "
            "ppl_vae.datasets.npz, npy, idx, csv or parquet."
        )
    if isinstance(array, np.ma.MaskedArray):
        if array.mask.any() and array.dtype.kind != "f":
            raise DataError(
                f"Got {int(array.mask.sum())} masked values in {what} of {array.dtype}, expected none: missing values "
                "are NaN, which only floats hold. Give array.astype(float), or a mask as a further array of a tuple."
            )
        array = array.filled(np.nan) if array.mask.any() else array.data
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
    known = {"e": np.float32, "g": np.float64, "G": np.complex128}.get(
        values.dtype.char, values.dtype.newbyteorder("=")
    )
    return np.require(values.astype(known, copy=False), requirements="C")


def as_tensors(
    arrays: Any,
    name: str,
    dtype: torch.dtype | None = None,
    *,
    exact: bool = False,
    exact_x: bool = False,
    fields: Sequence[str] | None = None,
) -> tuple[Tensor | Column, ...]:
    """Convert one split's array or tuple of arrays, and refuse what cannot be data.

    What is outside memory stays there: arrays that are mapped from a file, and data sets of torch, whose items are
    tuples where the programs take several arguments. Sparse matrices stay sparse.

    Args:
        arrays: an array, a tuple of arrays that share their first axis, or a data set of torch.
        name: of the split, for messages.
        dtype: see `as_tensor`.
        exact: see `as_tensor`.
        exact_x: `exact` for the first of them alone.
        fields: the names of the arrays of a tuple, for messages.

    Raises:
        DataError: for no data, several numbers of data, infinite values, and what `as_tensor` refuses.
    """
    if isinstance(arrays, TensorDataset):
        arrays = arrays.tensors
    if isinstance(arrays, DataLoader):
        raise DataError(
            f"Got a {type(arrays).__name__} as {name}, expected what it loads: batches are made here, so give its "
            ".dataset, and batch_size to fit."
        )
    entries = arrays if isinstance(arrays, tuple) else (arrays,)
    if not entries:
        raise DataError(f"Got an empty tuple as {name}, expected at least one array: x.")
    if len(entries) == 1 and (stored := outside(entries[0], name)) is not None:
        tensors: tuple[Tensor | Column, ...] = _columns(stored, name, dtype, exact=exact, exact_x=exact_x)
        names = _names(name, len(tensors))
    else:
        names = [f"{field} of {name}" for field in fields] if fields else _names(name, len(entries))
        tensors = tuple(
            part
            for i, (a, n) in enumerate(zip(entries, names, strict=True))
            for part in _entry(a, n, dtype, exact=exact or (exact_x and i == 0))
        )
    for tensor, n in zip(tensors, names, strict=True):
        check_any(tensor, n, is_x=tensor is tensors[0])
        if len(tensor) != len(tensors[0]):
            raise DataError(
                f"Got {len(tensors[0])} data in {names[0]} and {len(tensor)} in {n}, expected the same "
                "number: the arrays of a tuple share their first axis."
            )
        check_finite(tensor, n)
    return tensors


def _names(name: str, number: int) -> list[str]:
    return [name] if number == 1 else [f"{name}[{i}]" for i in range(number)]


def _entry(array: Any, what: str, dtype: torch.dtype | None, *, exact: bool) -> tuple[Tensor | Column, ...]:
    """One array of a tuple."""
    if is_sparse(array):
        return (sparse_column(array, functools.partial(as_tensor, what=what, dtype=dtype, exact=exact)),)
    stored = outside(array, what)
    if stored is None:
        return (as_tensor(array, what, dtype, exact=exact),)
    columns = _columns(stored, what, dtype, exact=exact)
    if len(columns) > 1:
        raise DataError(
            f"Got {what} with items of {len(columns)} parts in a tuple of data, expected one part: a data set whose "
            "items are tuples is given by itself."
        )
    return columns


def _columns(
    stored: Any, name: str, dtype: torch.dtype | None, *, exact: bool = False, exact_x: bool = False
) -> tuple[Column, ...]:
    """The arrays of a source outside memory, converted as `as_tensor` does, block by block."""
    exact = exact or (stored.chosen and dtype is None)
    blocks = Blocks(stored, functools.partial(_converted, name=name, dtype=dtype, exact=exact, exact_x=exact_x))
    size = int(blocks.starts[-1])
    return tuple(
        Column((size, *sample.shape[1:]), sample.dtype, Chosen(size), blocks, place)
        for place, sample in enumerate(blocks.samples)
    )


def _converted(
    arrays: tuple[Any, ...], *, name: str, dtype: torch.dtype | None, exact: bool, exact_x: bool
) -> tuple[Tensor, ...]:
    """The arrays of a block."""
    names = _names(name, len(arrays))
    return tuple(
        as_tensor(a, n, dtype, exact=exact or (exact_x and i == 0))
        for i, (a, n) in enumerate(zip(arrays, names, strict=True))
    )


def check_any(tensor: Tensor | Column, what: str, *, is_x: bool) -> None:
    """Refuse a tensor of no data, or an x of no columns."""
    if len(tensor) == 0 or (is_x and tensor.numel() == 0):
        raise DataError(f"Got {what} of shape {tuple(tensor.shape)}, which holds no data, expected at least one datum.")


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """Read ``"float64"`` as ``torch.float64``; None stays itself, and what is no floating-point dtype is refused."""
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is None or (isinstance(found, torch.dtype) and found.is_floating_point):
        return found
    raise DataError(f"Got dtype={dtype!r}, expected a floating-point one: float32, float64, float16 or bfloat16.")


Channels = Literal["keep", "auto", "first", "last", "none"]
_COLOURS = (1, 3, 4)  # grey, RGB, RGB with opacity


def channels_first(x: Tensor | Column, channels: Channels | None, what: str = "x") -> Tensor | Column:
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
    last = x.ndim == 4 and x.shape[3] in _COLOURS and x.shape[1] not in _COLOURS
    if channels is None and x.dtype == torch.uint8 and last:
        raise DataError(
            f"Got {what} of shape {tuple(x.shape)}, whose channels seem to come last, expected (data, "
            "channels, height, width): give channels='last' to have them moved, or channels='keep' for a "
            "model that wants this."
        )
    if channels in (None, "keep") or (channels == "auto" and x.ndim not in (3, 4)):
        return x
    if channels == "auto":
        channels = "none" if x.ndim == 3 else "last" if last else "first"
    wanted, axes = (3, "") if channels == "none" else (4, ", channels) in some order")
    if x.ndim != wanted:
        raise DataError(
            f"Got {what} of shape {tuple(x.shape)} with channels={channels!r}, expected {wanted} axes: "
            f"(data, height, width{axes or ')'}."
        )
    if channels == "none":
        return x.each(_one_channel) if isinstance(x, Column) else x.unsqueeze(1)
    if channels == "first":
        return x
    return x.each(_channels_moved) if isinstance(x, Column) else _channels_moved(x)


def _one_channel(x: Tensor, rows: Tensor) -> Tensor:
    return x.unsqueeze(1)


def _channels_moved(x: Tensor, rows: Tensor | None = None) -> Tensor:
    return x.permute(0, 3, 1, 2).contiguous()


def encode_labels(
    parts: Sequence[Any | None], class_names: Sequence[str] | None = None
) -> tuple[list[Tensor | None], tuple[str, ...] | None, int | None]:
    """Turn the labels of all splits into tensors with one common code.

    Text, and integers that are not 0, …, K − 1, become codes in sorted order with their names; floating-point labels
    (targets of a regression, say) stay numbers and are no classes.

    Args:
        parts: the labels of each split, ``(data,)``, or None.
        class_names: names for the codes 0, …, K − 1.

    Returns:
        The tensors, the class names and the number of classes (None where they are no classes).

    Raises:
        DataError: for missing, negative-with-names, non-scalar or too many labels.

    Example:
        >>> encode_labels([["cat", "dog", "cat"], ["dog"]])
        ([tensor([0, 1, 0]), tensor([1])], ('cat', 'dog'), 2)
    """
    arrays = [None if part is None else as_labels(part) for part in parts]
    given = [array for array in arrays if array is not None]
    if not given:
        return [None] * len(arrays), None, None
    is_text = any(array.dtype.kind in "USO" for array in given)
    codes = np.concatenate([array.astype(str) if is_text else array for array in given])
    names, number = None if class_names is None else tuple(class_names), None
    if codes.dtype.kind == "f":
        if bad := int((~np.isfinite(codes)).sum()):
            raise DataError(f"Got {bad} labels that are NaN or infinite, expected none.")
        codes = codes.astype(np.int64 if (codes == np.round(codes)).all() else np.float32)
    if codes.dtype.kind == "f":
        names = None
    else:
        values, places = np.unique(codes, return_inverse=True)
        number = len(values) if names is None else len(names)
        if not is_text and values[0] >= 0 and values[-1] < (2 * number + 8 if names is None else number):
            codes, number = codes.astype(np.int64), number if names is not None else int(values[-1]) + 1
        elif names is not None:
            raise DataError(
                f"Got {number} class names for labels {values[:3].tolist()} … {values[-1]}, expected integers from 0 "
                f"to {number - 1}."
            )
        else:
            codes, names = places, tuple(str(value) for value in values.tolist())
    pieces = iter(torch.from_numpy(codes).split([len(array) for array in given]))
    return [None if array is None else next(pieces).clone() for array in arrays], names, number


def as_labels(labels: Any, what: str = "labels") -> np.ndarray[Any, Any]:
    """Give one number or text per datum, ``(data,)``.

    Args:
        labels: as the user has them.
        what: their name in messages, in the plural.

    Raises:
        DataError: for another shape, missing values, and what is neither numbers nor text.
    """
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or not array.size:
        raise DataError(
            f"Got {what} of shape {array.shape}, expected one per datum, (data,): one-hot {what} become "
            "codes with .argmax(1); several values per datum can be a further tensor of the tuple."
        )
    if array.dtype.kind not in "biufUSO":
        raise DataError(f"Got {what} of dtype {array.dtype}, expected integers, text or numbers.")
    if array.dtype.kind == "O":
        held = next((v for v in array.tolist() if hasattr(v, "__len__") and not isinstance(v, str | bytes)), None)
        if held is not None:
            raise DataError(f"Got {what} of type {type(held).__name__}, expected one number or text per datum.")
        missing = [i for i, v in enumerate(array.tolist()) if v is None or v != v]
        if missing:
            raise DataError(f"Got {len(missing)} missing {what} (the first is of datum {missing[0]}), expected none.")
    return array.astype({"b": np.int64, "S": str}.get(array.dtype.kind, array.dtype), copy=False)
