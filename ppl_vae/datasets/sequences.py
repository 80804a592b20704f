"""Sequences of varying length as one array: padded, with the length of each beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppl_vae.datasets.convert import as_tensor
from ppl_vae.datasets.fields import by_name
from ppl_vae.datasets.preparation import Preparation
from ppl_vae.datasets.transform import Draw
from ppl_vae.errors import DataError

LENGTHS = "lengths"
"""The name of the field of lengths."""


@dataclass(frozen=True)
class Padding:
    """The steps after the end of a sequence, which are NaN as stored, as zeros."""

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Give x with zeros; the noise is not used."""
        return x.nan_to_num(nan=0.0)

    def mean(self, x: Tensor) -> Tensor:
        """Give the mean as it is: padding has no part in it."""
        return x


def is_ragged(x: Any) -> bool:
    """True for a list of arrays, each of a sequence, that differ in length; with others beside it, too.

    Example:
        >>> is_ragged([torch.zeros(3, 2), torch.zeros(5, 2)]), is_ragged([torch.zeros(3, 2), torch.zeros(3, 2)])
        (True, False)
    """
    held = by_name(x)
    entries = tuple(held.values()) if held is not None else x
    if isinstance(entries, tuple) and entries:
        x = entries[0]
    if not isinstance(x, list):
        return False
    shapes = [tuple(s.shape) for s in x if hasattr(s, "shape")]
    return len(shapes) == len(x) and len({s[:1] for s in shapes}) > 1 and all(shapes)


def sequences(splits: Mapping[str, Any], lengths: Sequence[Any], time: int | None = None) -> tuple[dict[str, Any], int]:
    """Give splits whose x is `(data, time, features)` with NaN as padding, and field `lengths`; and the longest of all.

    Args:
        splits: x of each split, a list of arrays `(steps, features)` or `(steps,)` or a padded array; with further
            arrays a tuple or a mapping, of which x is the first.
        lengths: of each split, `(data,)`; None for a list of arrays, which says it.
        time: steps to pad to; by default the longest sequence.

    Raises:
        DataError: for values that are missing within a sequence, lengths that are none, and sequences that differ in
            their features.

    Example:
        >>> made, longest = sequences({"train": [torch.ones(1, 2), torch.ones(3, 2)]}, [None])
        >>> made["train"]["x"][:, :, 0], made["train"]["lengths"], longest
        (tensor([[1., nan, nan],
                [1., 1., 1.]]), tensor([1, 3]), 3)
    """
    found = {key: _apart(given, n, key) for (key, given), n in zip(splits.items(), lengths, strict=True)}
    longest = max(max(map(len, rows)) for rows, _ in found.values())
    if time is not None and (isinstance(time, bool) or not isinstance(time, int) or time < longest):
        raise DataError(f"Got time={time!r} for sequences of up to {longest} steps, expected at least as many.")
    longest = longest if time is None else time
    features = {tuple(row.shape[1:]): key for key, (rows, _) in found.items() for row in rows}
    if len(features) > 1:
        raise DataError(
            f"Got sequences of {' and '.join(map(str, (s[0] for s in features)))} features, expected the same in all."
        )
    made: dict[str, Any] = {}
    for key, (rows, others) in found.items():
        x = rows[0].new_full((len(rows), longest, rows[0].shape[1]), torch.nan)
        for i, row in enumerate(rows):
            x[i, : len(row)] = row
        sizes = torch.tensor([len(row) for row in rows])
        made[key] = {"x": x, LENGTHS: sizes, **others}
    return made, longest


def require_plain(how: Preparation) -> None:
    """Refuse policies for pixels, and missing values.

    Raises:
        DataError: naming the policy.
    """
    for key, value in (("binarization", how["binarization"]), ("dequantization", how["dequantization"])):
        if value != "none":
            raise DataError(f"Got {key}={value!r} for sequences of varying length, expected 'none'.")
    if how["missing"]:
        raise DataError("Got missing=True for sequences of varying length, expected no missing value: fill them in.")


def _apart(given: Any, lengths: Any, key: str) -> tuple[list[Tensor], dict[str, Any]]:
    """The sequences of a split, each `(steps, features)` of floats, and the arrays beside them by name."""
    others: dict[str, Any] = {}
    if isinstance(given, Mapping) or hasattr(given, "_fields"):
        named = dict(given) if isinstance(given, Mapping) else given._asdict()
        x = named.pop(next(iter(named)))
        others = named
    elif isinstance(given, tuple):
        x, *rest = given
        others = {f"x{i}": array for i, array in enumerate(rest, 1)}
    else:
        x = given
    if LENGTHS in others:
        raise DataError(f"Got an array named {LENGTHS!r} of {key} and lengths beside it, expected one of them.")
    if lengths is None:
        if not isinstance(x, list):
            raise DataError(f"Got no lengths of {key}, expected them for a padded array: lengths=… beside it.")
        rows = [_row(as_tensor(one, f"sequence {i} of {key}"), f"sequence {i} of {key}") for i, one in enumerate(x)]
    elif is_ragged(x):
        raise DataError(f"Got lengths beside a list of sequences in {key}, which says them itself: leave them out.")
    else:
        whole, sizes = as_tensor(x, key), as_tensor(lengths, f"lengths of {key}")
        whole = whole.unsqueeze(-1) if whole.dim() == 2 else whole
        if whole.dim() != 3 or sizes.shape != whole.shape[:1]:
            raise DataError(
                f"Got {key} of shape {tuple(whole.shape)} with lengths of shape {tuple(sizes.shape)}, expected "
                "(data, time, features) and (data,)."
            )
        if bool(((sizes < 1) | (sizes > whole.shape[1]) | (sizes != sizes.round())).any()):
            raise DataError(
                f"Got lengths of {key} from {sizes.min():g} to {sizes.max():g}, expected whole numbers from 1 to "
                f"{whole.shape[1]}, the steps that x has."
            )
        pairs = zip(whole, sizes.long().tolist(), strict=True)
        rows = [_row(one[:n], f"sequence {i} of {key}") for i, (one, n) in enumerate(pairs)]
    if not rows:
        raise DataError(f"Got no sequences in {key}, expected at least one.")
    return rows, others


def _row(x: Tensor, what: str) -> Tensor:
    x = x.unsqueeze(-1) if x.dim() == 1 else x
    if x.dim() != 2 or not x.numel():
        raise DataError(f"Got {what} of shape {tuple(x.shape)}, expected (steps, features), at least one of each.")
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    if bool(x.isnan().any()):
        raise DataError(
            f"Got {what} with missing values (NaN), expected none within its length: fill them in, or cut the sequence."
        )
    return x
