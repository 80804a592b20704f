"""From a table of named columns to numbers, refusing what is not one and saying where it is."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl_vae.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def select(
    frame: pd.DataFrame,
    file: Path,
    columns: Sequence[str] | None,
    exclude: Sequence[str],
    label: str | None,
    first_line: int | None = None,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None, list[str]]:
    """Take the chosen columns of a table as numbers, and its labels.

    Args:
        frame: the table.
        file: it came from.
        columns: names of the columns of x; None for all but `label` and `exclude`.
        exclude: names of columns to leave out.
        label: name of the column of labels.
        first_line: line in the file of the first row, where it has lines.

    Returns:
        x, ``(rows, columns)``; the labels, ``(rows,)``, or None; the names of x's columns.

    Raises:
        DataError: for names that are not there, no rows or columns, missing or infinite values, and text.
    """
    frame = frame.rename(columns=str)
    label = None if label is None else str(label)
    names = list(frame.columns)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"Got {file} with several columns named {twice[0]!r}, expected every name once.")
    for key, wanted in {
        "columns": columns or (),
        "exclude": exclude,
        "label": [] if label is None else [label],
    }.items():
        for name in wanted:
            if str(name) not in names:
                raise DataError(_unknown(key, str(name), names, file))
    chosen = [str(name) for name in columns] if columns else [n for n in names if n not in exclude and n != label]
    if label in chosen:
        raise DataError(f"Got the column {label!r} both in columns and as label, expected one of them.")
    if not len(frame):
        raise DataError(f"Got {file} without rows, expected at least one below the names of the columns.")
    if not chosen:
        raise DataError(f"Got no column of {file} for x, expected at least one of {', '.join(names)}.")
    for name in chosen if label is None else [*chosen, label]:
        _refuse_missing(frame[name], name, file, first_line)
    text = [name for name in chosen if frame[name].dtype.kind not in "biuf"]
    if text:
        raise DataError(_not_numbers(frame, text, file, first_line))
    values = frame[chosen].to_numpy()
    if values.dtype.kind == "O":  # a mixture of booleans and numbers, or pandas' nullable types
        values = frame[chosen].astype("float64").to_numpy()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise DataError(
            f"Got an infinite value in {file}, {_where(row, chosen[column], first_line)}, expected finite "
            "numbers: mend or drop the row."
        )
    return values, None if label is None else frame[label].to_numpy(), chosen


def shaped(x: np.ndarray[Any, Any], shape: Sequence[int] | None) -> np.ndarray[Any, Any]:
    """Give each row the shape of a datum.

    Raises:
        DataError: for another number of values.
    """
    if shape is None:
        return x
    if math.prod(shape) != x.shape[1] or min(shape, default=0) < 1:
        raise DataError(
            f"Got shape={list(shape)} for rows of {x.shape[1]} values, expected sizes whose product is {x.shape[1]}."
        )
    return x.reshape(len(x), *shape)


def _where(row: int, column: str, first_line: int | None) -> str:
    line = "" if first_line is None else f" (line {row + first_line})"
    return f"row {row + 1}{line}, column {column!r}"


def _refuse_missing(values: pd.Series[Any], name: str, file: Path, first_line: int | None) -> None:
    missing = values.isna().to_numpy()
    if number := int(missing.sum()):
        raise DataError(
            f"Got {number} missing value{'' if number == 1 else 's'} in column {name!r} of {file}, the first in "
            f"{_where(int(missing.argmax()), name, first_line)}, expected none: fill them, drop the rows, or "
            f"leave the column out with exclude=[{name}]."
        )


def _not_numbers(frame: pd.DataFrame, text: list[str], file: Path, first_line: int | None) -> str:
    import pandas as pd

    name = text[0]
    numbers = pd.to_numeric(frame[name].astype(str), errors="coerce").isna().to_numpy()
    row = int(numbers.argmax())
    others = f" (also {', '.join(text[1:6])})" if len(text) > 1 else ""
    value = str(frame[name].iloc[row])
    hint = (
        " (a decimal comma? use decimal points)"
        if value.replace(",", ".").lstrip("+-").replace(".", "", 1).isdigit()
        else ""
    )
    return (
        f"Got {value[:40]!r}{hint} in {file}, {_where(row, name, first_line)}{others}, expected numbers: use "
        f"label={name} if it is the label, or leave the column out with exclude=[{', '.join(text[:6])}]."
    )


def _unknown(key: str, name: str, names: list[str], file: Path) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    guess = f": perhaps {close[0]!r}?" if close else "."
    return f"Got {key} with {name!r}, which {file} does not have, expected one of {', '.join(names[:20])}{guess}"
