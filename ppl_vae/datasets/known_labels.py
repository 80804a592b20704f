"""Labels that are there for some data and missing for others: codes, with −1 where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.datasets.convert import as_labels, encode_labels
from ppl_vae.datasets.split import Split
from ppl_vae.errors import DataError

KNOWN = "known"
"""`labelled=known`: all labels that are there, of data some of which have none."""

NONE = -1
"""The code of a missing label."""


def encode_known(
    parts: Sequence[Any | None], class_names: Sequence[str] | None = None
) -> tuple[list[Tensor | None], tuple[str, ...] | None, int | None]:
    """Turn labels into codes as `encode_labels` does, those that are there; −1 stands for the others.

    Missing are None, NaN, pandas' NA and empty text; in whole numbers, which have nothing else for it, −1.

    Args:
        parts: the labels of each split, ``(data,)``, or None.
        class_names: names for the codes 0, …, K − 1.

    Raises:
        DataError: there is no label at all, one class alone, or they are no classes.

    Example:
        >>> encode_known([["cat", None, "dog", ""]])
        ([tensor([ 0, -1,  1, -1])], ('cat', 'dog'), 2)
    """
    found = [None if part is None else _there(part) for part in parts]
    if not any(there is not None and there.any() for there in found):
        raise DataError(
            "Got labelled=known for data none of which has a label, expected some that have one: say which they are."
        )
    values = [
        None if part is None or there is None or not there.any() else _values(part)[there]
        for part, there in zip(parts, found, strict=True)
    ]
    plain = [None if part is None else np.asarray(part.tolist()) for part in values]
    codes, names, number = encode_labels(plain, class_names)
    if number is None:
        raise DataError("Got labelled=known for labels that are no whole numbers and no text, expected classes.")
    if len({int(code) for part in codes if part is not None for code in part.unique()}) < 2:
        raise DataError(
            "Got labelled=known for labels of one class alone, expected two or more. Among whole numbers −1 is no "
            "label: write classes −1 and 1 as 0 and 1."
        )
    spread: list[Tensor | None] = []
    for there, own in zip(found, codes, strict=True):
        if there is None:
            spread.append(None)
            continue
        whole = torch.full((len(there),), NONE)
        if own is not None:
            whole[torch.from_numpy(there)] = own
        spread.append(whole)
    return spread, names, number


def known_or_none(split: Split) -> Split:
    """The same data, without labels where some of them are missing."""
    missing = split.labels is not None and bool((split.labels == NONE).any())
    return replace(split, labels=None) if missing else split


def _values(part: Any) -> np.ndarray[Any, Any]:
    array = part.detach().cpu().numpy() if isinstance(part, Tensor) else np.asarray(part)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _there(part: Any) -> np.ndarray[Any, Any]:
    """A mask of the labels that are there."""
    array = _values(part)
    if array.dtype.kind == "f":
        return ~np.isnan(array)
    if array.dtype.kind == "i":
        return array != NONE
    if array.dtype.kind == "O" and array.ndim == 1:
        return np.array([not _is_missing(value) for value in array.tolist()])
    if array.dtype.kind in "US":
        return np.char.strip(array) != array.dtype.type()
    return np.ones(len(as_labels(part)), dtype=bool)


def _is_missing(value: Any) -> bool:
    if isinstance(value, str | bytes):
        return not value.strip()
    return value is None or type(value).__name__ == "NAType" or bool(np.all(value != value))
