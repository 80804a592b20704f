"""Labels of any kind as one tensor per split, with the names of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.errors import DataError


def encode_labels(
    parts: Sequence[Any | None], class_names: Sequence[str] | None = None
) -> tuple[list[Tensor | None], tuple[str, ...] | None, int | None]:
    """Turn the labels of all splits into tensors with one common code.

    Text and booleans, and integers that are not 0, …, K − 1, become codes in sorted order with their names;
    floating-point labels (targets of a regression, say) stay numbers and are no classes.

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
    arrays = [None if part is None else _as_array(part) for part in parts]
    given = [a for a in arrays if a is not None]
    if not given:
        return [None] * len(arrays), None, None
    every = np.concatenate([a.astype(str) if _is_text(given) else a for a in given])
    if every.dtype.kind == "f":
        if not np.isfinite(every).all():
            raise DataError(f"Got {int((~np.isfinite(every)).sum())} labels that are NaN or infinite, expected none.")
        if (every != np.round(every)).any():
            return [None if a is None else torch.from_numpy(a.astype(np.float32)) for a in arrays], None, None
        arrays = [None if a is None else a.astype(np.int64) for a in arrays]
        every = every.astype(np.int64)
    values = np.unique(every)
    if values.dtype.kind in "iu" and values[0] >= 0 and _is_dense(values, class_names):
        names = None if class_names is None else tuple(class_names)
        number = len(names) if names is not None else int(values[-1]) + 1
        return [None if a is None else torch.from_numpy(a.astype(np.int64)) for a in arrays], names, number
    if class_names is not None:
        raise DataError(
            f"Got {len(class_names)} class names for labels {values[:3].tolist()} … {values[-1]}, expected "
            f"integers from 0 to {len(class_names) - 1}."
        )
    kind = every.dtype
    codes = [None if a is None else torch.from_numpy(np.searchsorted(values, a.astype(kind))) for a in arrays]
    return codes, tuple(str(v) for v in values.tolist()), len(values)


def _is_dense(values: np.ndarray[Any, Any], names: Sequence[str] | None) -> bool:
    return bool(values[-1] < len(names)) if names is not None else bool(values[-1] < 2 * len(values) + 8)


def _is_text(arrays: Sequence[np.ndarray[Any, Any]]) -> bool:
    return any(a.dtype.kind in "USO" for a in arrays)


def _as_array(labels: Any) -> np.ndarray[Any, Any]:
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(
            f"Got labels of shape {array.shape}, expected one per datum, (data,): one-hot labels become "
            "codes with .argmax(1); several values per datum can be a further tensor of the tuple."
        )
    if array.dtype.kind == "O":
        missing = [i for i, v in enumerate(array.tolist()) if v is None or v != v]
        if missing:
            raise DataError(f"Got {len(missing)} missing labels (the first is of datum {missing[0]}), expected none.")
    elif array.dtype.kind == "b":
        array = array.astype(np.int64)
    elif array.dtype.kind not in "iufUS":
        raise DataError(f"Got labels of dtype {array.dtype}, expected integers, text or numbers.")
    return array.astype(str) if array.dtype.kind == "S" else array
