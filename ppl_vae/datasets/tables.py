"""Tables of your own, as comma-separated values or parquet: named columns to numbers, what is none refused by place."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.files import check_fits, existing_file, naming, with_files
from ppl_vae.datasets.keywords import perhaps, source
from ppl_vae.datasets.preparation import BASICS, Basics, Binarization, Standardize
from ppl_vae.datasets.spec import Support
from ppl_vae.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

LARGER = "Write its numbers to an npy file, and map it: pv.datasets.from_arrays(numpy.load(path, mmap_mode='r'))."
"""What to do with a table that is larger than memory."""


class Table(Basics, total=False):
    """Keywords of every source of tables.

    Args:
        columns: names of the columns of x; all by default.
        exclude: names of columns to leave out.
        label: name of the column of labels, numbers or text, which is then no part of x.
        shape: of a datum, ``(1, 28, 28)`` for rows of 784 pixels; one axis of columns by default.
        support: where x lives before it is standardized; by default its values tell, see `find_support`.
        levels: x are grey levels 0, …, levels − 1; 256 for 8-bit pixels.
        binarization: ``none``, ``static`` (one draw for ever), ``dynamic`` (a draw per visit) or ``threshold``, for
            grey levels or values in [0, 1]; only with standardization=none.
        standardization: ``zscore`` (per column) or ``none``.
        validation: fraction or number of rows.
        test: fraction or number of rows.
    """

    columns: Sequence[str] | None
    exclude: Sequence[str]
    label: str | None
    shape: Sequence[int] | None
    support: Support | None
    levels: int | None
    binarization: Binarization
    standardization: Standardize
    validation: float
    test: float


TABLE: Table = {
    **BASICS,
    "columns": None,
    "exclude": (),
    "label": None,
    "shape": None,
    "support": None,
    "levels": None,
    "binarization": "none",
    "standardization": "zscore",
    "validation": 0.1,
    "test": 0.1,
}


@source
def csv(path: str | Path, *, delimiter: str = ",", header: bool = True, **how: Unpack[Table]) -> Dataset:
    """Load a table of numbers, ``(columns,)`` per row, from a file of text, compressed or not.

    A first column without a name that counts 0, 1, 2, … is the index that pandas writes, and left out.

    Args:
        path: the file.
        delimiter: between the values of a row.
        header: whether the first line names the columns; if not, they are named 0, 1, ….
        how: see `Table`.

    Raises:
        DataError: for a damaged file, names that are not there, missing labels, text, or columns that never
            vary. Missing values of x are NaN, for programs that mask them.
    """
    file = existing_file(path, "a csv file")
    frame = _read_csv(file, delimiter, header)
    name = str(frame.columns[0])
    if header and name == "Unnamed: 0" and not how["columns"] and frame.iloc[:, 0].tolist() == list(range(len(frame))):
        how["exclude"] = [*how["exclude"], name]
    return _from_table("csv", frame, file, 2 if header else 1, **how)


@source
def parquet(path: str | Path, **how: Unpack[Table]) -> Dataset:
    """Load a table of numbers, ``(columns,)`` per row, from a parquet file; an index of pandas is no column.

    Args:
        path: the file.
        how: see `Table`.

    Raises:
        DataError: for a damaged file, names that are not there, missing labels, text, or columns that never
            vary. Missing values of x are NaN, for programs that mask them.
    """
    import pandas as pd

    file = existing_file(path, "a parquet file")
    check_fits(file.stat().st_size, str(file), LARGER)
    try:
        frame = pd.read_parquet(file)
    except ImportError:
        raise DataError(
            f"Got {file}, but pyarrow is not installed, expected it for parquet: pip install 'ppl-vae[parquet]'."
        ) from None
    except Exception as error:  # damaged metadata break pyarrow and pandas in many ways
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(
            f"Got {file}, which is truncated, corrupt or no parquet file ({reason}), "
            "expected a whole one: copy or download it again."
        ) from None
    return _from_table("parquet", frame, file, None, **how)


def _from_table(
    source: str,
    frame: pd.DataFrame,
    file: Path,
    first_line: int | None,
    *,
    columns: Sequence[str] | None,
    exclude: Sequence[str],
    label: str | None,
    shape: Sequence[int] | None,
    **how: Any,
) -> Dataset:
    x, labels, names = select(frame, file, columns, [str(name) for name in exclude], label, first_line)
    with naming(file):
        feature_names = names if shape is None else None
        data = from_arrays(shaped(x, shape), labels=labels, name=source, feature_names=feature_names, **how)
    return with_files(data, [file])


def _read_csv(file: Path, delimiter: str, header: bool) -> pd.DataFrame:
    import pandas as pd

    check_fits(file.stat().st_size, str(file), LARGER)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                file,
                sep=delimiter,
                header=0 if header else None,
                skipinitialspace=True,
                low_memory=False,
                index_col=False,
            )
    except pd.errors.EmptyDataError:
        raise DataError(f"Got {file} without any value, expected a table with a row of names.") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(
            f"Got {file}, whose rows are not all as long as the first ({' '.join(str(error).split())}), "
            "expected a table: mend the row, or choose another delimiter."
        ) from None
    except (UnicodeDecodeError, EOFError, zlib.error, OSError, ValueError) as error:
        raise DataError(
            f"Got {file}, which cannot be read as text ({error}), expected values separated by {delimiter!r} "
            "in UTF-8 (compressed files end in .gz, .zip, .bz2 or .xz)."
        ) from None
    only = str(frame.columns[0])
    for other in (";", "\t", ","):
        if frame.shape[1] == 1 and other != delimiter and other in only:
            raise DataError(
                f"Got one column {only!r} from {file}, expected several: they seem to be separated by "
                f"{other!r}, so give delimiter={other!r}."
            )
    if header and all(_is_number(name) for name in frame.columns):
        raise DataError(
            f"Got numbers ({', '.join(map(str, frame.columns[:3]))}, …) as the names of the columns of "
            f"{file}, expected text: if the first line holds data too, give header=false."
        )
    return frame


def _is_number(name: object) -> bool:
    try:
        float(str(name))
    except ValueError:
        return False
    return True


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
        DataError: for names that are not there, no rows or columns, missing labels, infinite values, and text.
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
                raise DataError(
                    f"Got {key} with {str(name)!r}, which {file} does not have, expected one of "
                    f"{', '.join(names[:20])}{perhaps(str(name), names)}"
                )
    chosen = [str(name) for name in columns] if columns else [n for n in names if n not in exclude and n != label]
    if label in chosen:
        raise DataError(f"Got the column {label!r} both in columns and as label, expected one of them.")
    if not len(frame):
        raise DataError(f"Got {file} without rows, expected at least one below the names of the columns.")
    if not chosen:
        raise DataError(f"Got no column of {file} for x, expected at least one of {', '.join(names)}.")
    if label is not None:
        _refuse_missing(frame[label], label, file, first_line)
    text = [name for name in chosen if frame[name].dtype.kind not in "biuf"]
    if text:
        raise DataError(_not_numbers(frame, text, file, first_line))
    values = frame[chosen].to_numpy()
    if values.dtype.kind == "O":  # a mixture of booleans and numbers, or pandas' nullable types
        values = frame[chosen].astype("float64").to_numpy()
    if values.dtype.kind == "f" and np.isinf(values).any():
        row, column = (int(i) for i in np.argwhere(np.isinf(values))[0])
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
