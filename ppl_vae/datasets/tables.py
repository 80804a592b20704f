"""Tables of your own, as csv, parquet or Arrow: named columns to numbers, what is none refused by place."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from ppl_vae.datasets.columns import Kinds, kind_of
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.files import Bounded, available, check_fits, existing_file, reading
from ppl_vae.datasets.keywords import perhaps, source
from ppl_vae.datasets.known_labels import KNOWN
from ppl_vae.datasets.preparation import BASICS, Basics, Binarization, Standardize
from ppl_vae.datasets.reader import UNREAD, from_files, only_unread
from ppl_vae.datasets.row_groups import RowGroups, TableFile, dtypes, infinite, numbers, open_arrow
from ppl_vae.datasets.spec import Support
from ppl_vae.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


class Table(Basics, total=False):
    """Keywords of every source of tables.

    Args:
        columns: names of the columns of x; all by default.
        exclude: names of columns to leave out.
        label: name of the column of labels, numbers or text, which is then no part of x.
        fields: names of columns that the programs get beside x, `model(x, age, batch)`, each by itself and no part of
            x; text is a category.
        categories: names of those of them that are integers and categories, too.
        standardize_fields: names of those of them that networks see standardized, see `from_arrays`.
        shape: of a datum, ``(1, 28, 28)`` for rows of 784 pixels; one axis of columns by default.
        kinds: what columns hold, by name: real, positive, count, binary, category or ordinal, as
            ``{age: positive, grade: {ordinal: [low, middle, high]}}``; by default all are plain numbers, and where some
            are text, their values tell (`columns.kind_of`).
        support: where x lives before it is standardized; by default its values tell, see `find_support`.
        levels: x are grey levels 0, …, levels − 1; 256 for 8-bit pixels.
        binarization: ``none``, ``static`` (one draw for ever), ``dynamic`` (a draw per visit) or ``threshold``, for
            grey levels or values in [0, 1]; only with standardization=none.
        standardization: ``zscore`` (per column), after which x are reals, or ``none``; by default what is said to be
            something else than reals, by `support` or `binarization`, is left as it is, and the rest is ``zscore``.
        validation: fraction or number of rows.
        test: fraction or number of rows.
    """

    columns: Sequence[str | int] | None
    exclude: Sequence[str | int]
    label: str | int | None
    fields: Sequence[str | int]
    categories: Sequence[str | int]
    standardize_fields: Sequence[str | int]
    shape: Sequence[int] | None
    kinds: Kinds | None
    support: Support | None
    levels: int | None
    binarization: Binarization
    standardization: Standardize | None
    validation: float
    test: float


TABLE: Table = {
    **BASICS,
    "columns": None,
    "exclude": (),
    "label": None,
    "fields": (),
    "categories": (),
    "standardize_fields": (),
    "shape": None,
    "kinds": None,
    "support": None,
    "levels": None,
    "binarization": "none",
    "standardization": None,
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
    import pandas as pd

    file = existing_file(path, "a csv file")
    check_fits(file.stat().st_size, str(file), UNREAD)
    advice = (
        f"rows of one length, values separated by {delimiter!r}, in UTF-8; compressed, its name ends in .gz, .zip, …"
    )
    with reading(file, "csv file", advice), warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        options = {"skipinitialspace": True, "low_memory": False, "index_col": False}
        with unpacked(file) as stream:
            frame = pd.read_csv(stream, sep=delimiter, header=0 if header else None, **options)
    only = str(frame.columns[0])
    other = next((other for other in ";\t," if other in only and other != delimiter), None)
    if frame.shape[1] == 1 and other is not None:
        raise DataError(
            f"Got one column {only!r} from {file}, expected several: they seem to be separated by {other!r}, so give "
            f"delimiter={other!r}."
        )
    if header and pd.to_numeric(frame.columns, errors="coerce").notna().all():
        raise DataError(
            f"Got numbers ({', '.join(map(str, frame.columns[:3]))}, …) as the names of the columns of "
            f"{file}, expected text: if the first line holds data too, give header=false."
        )
    if only == "Unnamed: 0" and not how["columns"] and frame[only].tolist() == list(range(len(frame))):
        how["exclude"] = [*how["exclude"], only]
    return _from_table("csv", frame, file, 2 if header else 1, **how)


_UNPACK: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}


@contextmanager
def unpacked(file: Path) -> Iterator[Any]:
    """The text of a file as pandas reads it; one that is compressed no further than memory goes.

    Numbers take up to four times the memory of the text of a table.
    """
    most = (available() or 2**40) // 4
    if file.suffix.lower() == ".zip":
        with zipfile.ZipFile(file) as archive:
            check_fits(4 * sum(member.file_size for member in archive.infolist()), str(file), "Take a part of it.")
    unpack = _UNPACK.get(file.suffix.lower())
    if unpack is None:
        yield file
        return
    with unpack(file) as stream:
        yield io.BufferedReader(Bounded(stream, most, str(file)), 2**20)


@source
def parquet(
    path: str | Path, *, mmap: bool = False, shuffle_window: int | None = None, **how: Unpack[Table]
) -> Dataset:
    """Load a table of numbers, ``(columns,)`` per row, from a parquet file; an index of pandas is no column.

    Args:
        path: the file.
        mmap: leave the rows in the file, and read them by row groups; for tables larger than memory.
        shuffle_window: with mmap, how many row groups are in memory, whose rows are shuffled together; by default as
            many as come to 64 MiB, and at least 2.
        how: see `Table`.

    Raises:
        DataError: see `csv`.
    """
    return _columnar("parquet", path, mmap, shuffle_window, **how)


@source
def arrow(path: str | Path, *, mmap: bool = False, shuffle_window: int | None = None, **how: Unpack[Table]) -> Dataset:
    """Load a table of numbers, ``(columns,)`` per row, from an Arrow file (Feather 2); an index of pandas is no column.

    Args:
        path: the file; a stream of Arrow's, too, without mmap.
        mmap: leave the rows in the file, and read them by record batches; for tables larger than memory.
        shuffle_window: with mmap, how many record batches are in memory, whose rows are shuffled together; by default
            as many as come to 64 MiB, and at least 2.
        how: see `Table`.

    Raises:
        DataError: see `csv`.
    """
    return _columnar("arrow", path, mmap, shuffle_window, **how)


def _columnar(name: str, path: str | Path, mmap: bool, window: int | None, **how: Any) -> Dataset:
    import pandas as pd

    only_unread(mmap, shuffle_window=window)
    file = existing_file(path, f"{'an' if name == 'arrow' else 'a'} {name} file")
    if not mmap:
        check_fits(file.stat().st_size, str(file), UNREAD)
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise DataError(
            f"Got {file}, but pyarrow is not installed, expected it for {name}: pip install 'ppl-vae[parquet]'."
        ) from None
    if mmap:
        return _from_table(name, TableFile(file, name), file, None, window=window, **how)
    with reading(file, f"{name} file"):
        if name == "parquet":
            frame = pd.read_parquet(file)
        else:
            table = open_arrow(file).read_all()
            table.validate(full=True)  # values are read from where offsets say, without another look
            frame = table.to_pandas()
    return _from_table(name, frame, file, None, **how)


def _from_table(
    name: str,
    frame: pd.DataFrame | TableFile,
    file: Path,
    first_line: int | None,
    *,
    columns: Sequence[str | int] | None,
    exclude: Sequence[str | int],
    label: str | int | None,
    fields: Sequence[str | int],
    categories: Sequence[str | int],
    standardize_fields: Sequence[str | int],
    shape: Sequence[int] | None,
    validation: float,
    test: float,
    window: int | None = None,
    **how: Any,
) -> Dataset:
    x: Any
    gaps = [] if label is None or how["labelled"] != KNOWN else [str(label)]
    if isinstance(frame, TableFile):
        if how["kinds"]:
            raise DataError(
                f"Got kinds of columns with mmap=true for {file}, expected mmap=false: codes are made in memory."
            )
        x, beside, names = select_unread(frame, columns, exclude, label, fields, window, gaps=gaps)
    else:
        x, beside, names = select(frame, file, columns, exclude, label, fields, first_line, how["kinds"], gaps=gaps)
    if shape is not None:
        if not isinstance(x, np.ndarray | RowGroups) or how["kinds"]:
            raise DataError(f"{file}: Got shape={list(shape)} for a table of mixed columns, expected shape=null.")
        if math.prod(shape) != x.shape[1] or min(shape, default=0) < 1:
            raise DataError(
                f"{file}: Got shape={list(shape)} for rows of {x.shape[1]} values, expected sizes whose product is "
                f"{x.shape[1]}."
            )
        x, how["feature_names"] = x.reshape((x.shape[0], *shape)), None
    labels = None if label is None else beside[str(label)]
    arrays = {"x": x if not fields else {"x": x, **{str(f): beside[str(f)] for f in fields}}, "labels": labels}
    coded, scaled = ([*map(str, names)] for names in (categories, standardize_fields))
    how = {"feature_names": names, "categories": coded, "standardize_fields": scaled, **how}
    if how["standardization"] is None:
        is_real = how["support"] in (None, "real", "mixed") and how["binarization"] == "none"
        how["standardization"] = "zscore" if is_real else "none"
    return from_files(name, file, arrays, [file], validation=validation or 0, test=test or 0, **how)


def select(
    frame: pd.DataFrame,
    file: Path,
    columns: Sequence[str | int] | None,
    exclude: Sequence[str | int],
    label: str | int | None,
    fields: Sequence[str | int] = (),
    first_line: int | None = None,
    kinds: Kinds | None = None,
    gaps: Sequence[str] = (),
) -> tuple[Any, dict[str, np.ndarray[Any, Any]], list[str]]:
    """Take the chosen columns of a table as numbers, its labels and what else goes beside x.

    Args:
        frame: the table.
        file: it came from.
        columns: names of the columns of x; None for all but `label`, `fields` and `exclude`.
        exclude: names of columns to leave out.
        label: name of the column of labels.
        fields: names of columns beside x.
        first_line: line in the file of the first row, where it has lines.
        kinds: what the user says of columns.
        gaps: names of columns beside x where values may be missing.

    Returns:
        x, ``(rows, columns)``, still a table where columns are no plain numbers; labels and fields by the names of
        their columns, ``(rows,)``; the names of x's columns.

    Raises:
        DataError: for names that are not there, no rows or columns, missing labels, infinite values, and text.
    """
    frame = frame.rename(columns=str)
    chosen, beside = _chosen(frame, len(frame), file, columns, exclude, label, fields)
    for name in beside:
        _refuse_gaps(frame[name], file, first_line, name in gaps, name == str(label))
    said = {str(name) for name in kinds or ()}
    text = [name for name in chosen if frame[name].dtype.kind not in NUMBERS]
    if bad := [name for name in text if name not in said and kind_of(frame[name]) is None]:
        raise _no_numbers(*_first_text(frame[bad[0]]), bad, file, first_line)
    if text or said:
        return frame[chosen], {name: frame[name].to_numpy() for name in beside}, chosen
    values = numbers(frame[chosen])
    if values.dtype.kind == "f" and np.isinf(values).any():
        row, column = (int(i) for i in np.argwhere(np.isinf(values))[0])
        raise infinite(file, _where(row, chosen[column], first_line))
    return values, {name: frame[name].to_numpy() for name in beside}, chosen


def select_unread(
    table: TableFile,
    columns: Sequence[str | int] | None,
    exclude: Sequence[str | int],
    label: str | int | None,
    fields: Sequence[str | int],
    window: int | None,
    gaps: Sequence[str] = (),
) -> tuple[RowGroups, dict[str, np.ndarray[Any, Any]], list[str]]:
    """Do the same as `select` without reading more of a table than what goes beside x, 8 bytes each a row.

    Args:
        table: the file.
        columns: see `select`.
        exclude: see `select`.
        label: see `select`.
        fields: see `select`.
        window: row groups in memory.
        gaps: see `select`.
    """
    file = table.file
    chosen, names = _chosen(table.empty(), sum(table.rows), file, columns, exclude, label, fields)
    beside = {name: table.column(name) for name in names}
    for name, column in beside.items():
        _refuse_gaps(column, file, None, name in gaps, name == str(label))
    if text := [name for name, dtype in dtypes(table, chosen).items() if dtype.kind not in NUMBERS]:
        raise _no_numbers(*_first_text_unread(table, text[0]), text, file, None, "mmap=false")
    return RowGroups(table, chosen, window=window), {k: column.to_numpy() for k, column in beside.items()}, chosen


NUMBERS = "biuf"
"""Kinds of the types of columns that are numbers."""


def _where(row: int, column: str, first_line: int | None) -> str:
    line = "" if first_line is None else f" (line {row + first_line})"
    return f"row {row + 1}{line}, column {column!r}"


def _chosen(
    frame: pd.DataFrame,
    rows: int,
    file: Path,
    columns: Sequence[str | int] | None,
    exclude: Sequence[str | int],
    label: str | int | None,
    fields: Sequence[str | int],
) -> tuple[list[str], list[str]]:
    """The names of x's columns, and of those that go beside x."""
    names = list(frame.columns)
    if not frame.columns.is_unique:
        twice = min(frame.columns[frame.columns.duplicated()])
        raise DataError(f"Got {file} with several columns named {twice!r}, expected every name once.")
    labels, others = [] if label is None else [str(label)], [*map(str, fields)]
    asked = {"columns": [*map(str, columns or ())], "exclude": [*map(str, exclude)], "label": labels, "fields": others}
    for key, name in ((key, name) for key, wanted in asked.items() for name in wanted):
        if name not in names:
            raise DataError(
                f"Got {key} with {name!r}, which {file} does not have, expected one of {', '.join(names[:20])}"
                f"{perhaps(name, names)}"
            )
    beside = list(dict.fromkeys([*labels, *others]))
    chosen = asked["columns"] or [name for name in names if name not in [*asked["exclude"], *beside]]
    for key in ("label", "fields"):
        if both := [name for name in asked[key] if name in chosen]:
            raise DataError(f"Got the column {both[0]!r} both in columns and as {key}, expected one of them.")
    if not rows:
        raise DataError(f"Got {file} without rows, expected at least one below the names of the columns.")
    if not chosen:
        raise DataError(f"Got no column of {file} for x, expected at least one of {', '.join(names)}.")
    return chosen, beside


def _refuse_gaps(labels: pd.Series[Any], file: Path, first_line: int | None, may: bool, label: bool) -> None:
    missing, name = labels.isna().to_numpy(), str(labels.name)
    if (number := int(missing.sum())) and not may:
        hint = "; or take the labels that there are, labelled=known (model=semi_supervised)" if label else ""
        raise DataError(
            f"Got {number} missing value{'' if number == 1 else 's'} in column {name!r} of {file}, the first in "
            f"{_where(int(missing.argmax()), name, first_line)}, expected none: fill them, drop the rows, or leave the "
            f"column out with exclude=[{name}]{hint}."
        )


def _no_numbers(
    row: int, value: str, text: Sequence[str], file: Path, first_line: int | None, remedy: str = ""
) -> DataError:
    decimal = value.replace(",", ".").lstrip("+-").replace(".", "", 1).isdigit()
    hint = " (a decimal comma? use decimal points)" if decimal else ""
    remedy = remedy or f"kinds={{{text[0]}: category}}"
    others = f" (also {', '.join(text[1:6])})" if text[1:] else ""
    return DataError(
        f"Got {value[:40]!r}{hint} in {file}, {_where(row, text[0], first_line)}{others}, expected numbers: "
        f"use label={text[0]} if it is the label, {remedy} if it holds categories, or leave "
        f"the column out with exclude=[{', '.join(text[:6])}]."
    )


def _first_text(column: pd.Series[Any]) -> tuple[int, str]:
    """Give the row and the text of the first value that is no number."""
    import pandas as pd

    row = int(pd.to_numeric(column.astype(str), errors="coerce").isna().to_numpy().argmax())
    return row, str(column.iloc[row])


def _first_text_unread(table: TableFile, name: str) -> tuple[int, str]:
    """The same as `_first_text` of the whole column."""
    import pandas as pd

    done, first = 0, ""
    for group in range(len(table.rows)):
        for frame in table.frames(group, [name]):
            column = frame[name]
            if not len(column):
                continue
            first = str(column.iloc[0]) if not done else first
            if pd.to_numeric(column.astype(str), errors="coerce").isna().any():
                row, value = _first_text(column)
                return done + row, value
            done += len(column)
    return 0, first
