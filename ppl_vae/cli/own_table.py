"""The user's own file of data, read once more: its columns as they were written, and the names of its rows."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppl_vae.errors import DataError
from ppl_vae.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("csv", "parquet", "arrow")
"""Sources of tables, whose columns have names."""


def kind_of_source(run: Run) -> str:
    """The source that the data of a run were read by: `csv`, say, or `npz`."""
    return str(run.plain_config["dataset"]["_target_"]).rpartition(".")[2]


def named_rows(path: Path, column: str, run: Run, rows: int) -> NDArray[Any]:
    """One column of a table, or an array of an npz: the names of its rows, as they are written there.

    Args:
        path: the file.
        column: the name of the column, or of the array; those of further data of an npz are `NAME_validation` and
            `NAME_test`, as its fields are.
        run: whose data were read from such a file.
        rows: how many there have to be.

    Raises:
        DataError: it is not there, or of another length, or the file has no columns.
    """
    from ppl_vae.datasets.files import existing_file, reading
    from ppl_vae.datasets.h5ad import read_h5ad
    from ppl_vae.datasets.keywords import perhaps

    file = existing_file(path, "a file with columns")
    kind, there, found = kind_of_source(run), list[str](), None
    if kind in TABLES:
        there, frame = columns_of(file, run, [column])
        found = _names(frame[column]) if column in frame else None
    elif kind == "npz":
        there, found = _arrays(file, column)
    elif kind == "h5ad":
        import pandas as pd

        with reading(file, "file with columns"):
            held = read_h5ad(file, names=[] if column == "obs_names" else [column], matrix=False)
        found = _names(pd.Series(held.rows if column == "obs_names" else held.beside[column]))
    else:
        raise DataError(f"id={column}: {file} has no columns that could name its rows; leave it out")
    if found is None:
        expected = f"expected one of {', '.join(there[:20])}{perhaps(column, there)}"
        raise DataError(f"id={column}: {file} has no such {'array' if kind == 'npz' else 'column'}, {expected}")
    if len(found) != rows:
        raise DataError(f"id={column}: got {len(found)} names in {file} for {rows} data, expected one for each")
    return found


def columns_of(file: Path, run: Run, wanted: Collection[str]) -> tuple[list[str], pd.DataFrame]:
    """The names of all columns of a table, and those that are wanted and there: of a csv the text that it holds.

    Nothing is taken for a number, or for a missing value, that a name or a value of the user could be.
    """
    import pandas as pd

    from ppl_vae.datasets.files import reading
    from ppl_vae.datasets.row_groups import open_arrow
    from ppl_vae.datasets.tables import unpacked

    with reading(file, "file with columns"):
        if kind_of_source(run) == "csv":
            node = run.plain_config["dataset"]
            how: dict[str, Any] = {"sep": node.get("delimiter", ","), "header": 0 if node.get("header", True) else None}
            how |= {"skipinitialspace": True, "index_col": False}
            with unpacked(file) as stream:
                there = [str(name) for name in pd.read_csv(stream, nrows=1, **how).columns]
            at = [place for place, name in enumerate(there) if name in wanted]
            if not at:
                return there, pd.DataFrame()
            with unpacked(file) as stream:
                frame = pd.read_csv(stream, usecols=at, dtype=str, keep_default_na=False, **how)
            return there, frame.rename(columns=str)
        if kind_of_source(run) == "parquet":
            import pyarrow.parquet

            table = pyarrow.parquet.ParquetFile(file).read()
        else:
            table = open_arrow(file).read_all()
        frame = table.to_pandas(integer_object_nulls=True).reset_index().rename(columns=str)
    there = list(frame.columns)
    return there, frame[[name for name in there if name in wanted]]


def _names(column: pd.Series[Any]) -> NDArray[Any]:
    """Numbers of which none is missing as they are, all else as text, blank where there is none."""
    from ppl_vae.datasets.columns import is_number

    there = column.notna().to_numpy()
    if is_number(column) and there.all():
        return column.to_numpy()
    return column.astype(object).map(str).where(there, "").to_numpy(str)


def _arrays(file: Path, name: str) -> tuple[list[str], NDArray[Any] | None]:
    """The names of the arrays of an npz, and one with those of its further data."""
    from ppl_vae.datasets.npz import Archive

    archive = Archive(file)
    if name not in archive:
        return list(archive), None
    parts = [archive[key] for end in ("", "_validation", "_test") if (key := name + end) in archive]
    if wrong := [part.shape for part in parts if part.ndim != 1]:
        raise DataError(f"id={name}: got an array of shape {wrong[0]} in {file}, expected (data,): a name for each")
    found = np.concatenate(parts)
    return list(archive), found if found.dtype.kind in "biuf" else found.astype(str)
