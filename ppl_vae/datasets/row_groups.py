"""Tables on disk that are read by row groups (Parquet) or record batches (Arrow), never as a whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl_vae.datasets.files import Unchanged, reading
from ppl_vae.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
AT_ONCE = 2**14
"""Rows of a row group that are decoded at once."""


class TableFile:
    """A Parquet or Arrow file whose rows are read group by group; needs pyarrow.

    Args:
        file: the file.
        kind: ``parquet`` or ``arrow``.

    Raises:
        DataError: for a damaged file, and for a stream of Arrow's, of which no group can be found by itself.
    """

    def __init__(self, file: Path, kind: str) -> None:
        self.file, self.kind, self._unchanged = file, kind, Unchanged(file)
        with reading(file, f"{kind} file"):
            if kind == "parquet":
                from pyarrow.parquet import ParquetFile

                self._parquet = ParquetFile(file)
                meta = self._parquet.metadata
                self.rows = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
                self.schema = self._parquet.schema_arrow
            else:
                self._batches = open_arrow(file)
                if not hasattr(self._batches, "get_batch"):
                    raise DataError(
                        f"Got {file}, which is a stream of Arrow's, expected a file of its format, whose batches can "
                        "be found one by one: write it with pyarrow.ipc.new_file, or use mmap=false."
                    )
                self.rows = [self._batches.get_batch(i).num_rows for i in range(self._batches.num_record_batches)]
                self.schema = self._batches.schema

    def __reduce__(self) -> tuple[Any, ...]:
        return TableFile, (self.file, self.kind)  # opened again

    @property
    def starts(self) -> list[int]:
        """The first row of each group, and after them the number of all rows."""
        return [0, *itertools.accumulate(self.rows)]

    def empty(self) -> pd.DataFrame:
        """Give the table without its rows, as pandas has it: an index is no column."""
        return self._in_pandas(self.schema.empty_table())

    def tables(self, group: int, columns: Sequence[str]) -> Iterator[Any]:
        """Read some columns of a group, a few rows at a time, as tables of Arrow's.

        Raises:
            DataError: where the file is not what it was, or damaged.
        """
        import pyarrow as pa

        self._unchanged.check()
        with reading(self.file, f"{self.kind} file"):
            if self.kind == "parquet":
                some: Any = self._parquet.iter_batches(AT_ONCE, [group], list(columns))
            else:
                whole = self._batches.get_batch(group).select(list(columns))
                some = (whole.slice(start, AT_ONCE) for start in range(0, whole.num_rows, AT_ONCE))
            for batch in some:
                batch.validate(full=True)  # values are read from where offsets say, without another look
                yield pa.Table.from_batches([batch])

    def frames(self, group: int, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Read some columns of a group, a few rows at a time, as pandas has them."""
        for table in self.tables(group, columns):
            yield self._in_pandas(table)

    def column(self, name: str) -> pd.Series[Any]:
        """Read a column as a whole."""
        import pyarrow as pa

        groups = range(len(self.rows))
        with reading(self.file, f"{self.kind} file"):
            tables = [self.schema.empty_table().select([name]), *(t for g in groups for t in self.tables(g, [name]))]
            whole = pa.concat_tables(tables)
        return self._in_pandas(whole)[name]

    def _in_pandas(self, table: Any) -> pd.DataFrame:
        with reading(self.file, f"{self.kind} file"):  # pandas cannot read all that it writes, such as its Arrow types
            frame: pd.DataFrame = table.to_pandas().rename(columns=str)
            return frame

    def has_gaps(self, name: str) -> bool:
        """Tell whether values of a column are missing."""
        return any(self._gaps(group, name) for group in range(len(self.rows)))

    def _gaps(self, group: int, name: str) -> bool:
        if self.kind == "parquet":
            with reading(self.file, "parquet file"):  # names of columns are damaged for themselves, too
                meta = self._parquet.metadata.row_group(group)
                chunk = next((c for c in map(meta.column, range(meta.num_columns)) if c.path_in_schema == name), None)
                if chunk is not None and chunk.statistics is not None and chunk.statistics.has_null_count:
                    return bool(chunk.statistics.null_count)
        return any(table.column(name).null_count for table in self.tables(group, [name]))


def open_arrow(file: Path) -> Any:
    """Give the reader of an Arrow file, or of a stream that was written to one."""
    import pyarrow as pa

    try:
        return pa.ipc.open_file(pa.memory_map(str(file)))
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(pa.memory_map(str(file)))


class RowGroups:
    """Columns of a table as a source of blocks: numbers, ``(rows, columns)`` or of another shape per row.

    Args:
        table: the file.
        columns: names of numeric columns, in order.
        shape: of a datum.
        window: row groups in memory; by default as many as come to 64 MiB, and at least 2.
    """

    sequential = chosen = False

    def __init__(
        self, table: TableFile, columns: Sequence[str], shape: Sequence[int] | None = None, window: int | None = None
    ) -> None:
        self.table, self.names, self.window, self.starts = table, list(columns), window, table.starts
        self.dtype = common_dtype(table, self.names)
        self.shape = (self.starts[-1], *(shape or (len(self.names),)))

    def load(self, block: int) -> tuple[Array]:
        """Give the numbers of a row group.

        Raises:
            DataError: for an infinite value, and where the file is damaged or not what it was.
        """
        start = self.starts[block]
        values = np.empty((self.starts[block + 1] - start, len(self.names)), self.dtype)
        done = 0
        for frame in self.table.frames(block, self.names):
            values[done : done + len(frame)] = numbers(frame[self.names])
            done += len(frame)
        if values.dtype.kind == "f" and np.isinf(values).any():
            row, column = (int(i) for i in np.argwhere(np.isinf(values))[0])
            raise infinite(self.table.file, f"row {start + row + 1}, column {self.names[column]!r}")
        return (values.reshape(len(values), *self.shape[1:]),)

    def reshape(self, shape: Sequence[int]) -> RowGroups:
        """Give the same numbers in another shape, ``(rows, …)``."""
        return RowGroups(self.table, self.names, shape[1:], self.window)


def numbers(frame: pd.DataFrame) -> Array:
    """Give numeric columns as one array; booleans beside numbers, and pandas' nullable types, become float64."""
    values: Array = frame.to_numpy()
    return frame.astype("float64").to_numpy() if values.dtype.kind == "O" else values


def infinite(file: Path, where: str) -> DataError:
    """The refusal of an infinite value in a table."""
    return DataError(f"Got an infinite value in {file}, {where}, expected finite numbers: mend or drop the row.")


def dtypes(table: TableFile, columns: Sequence[str]) -> dict[str, Any]:
    """Give the types that pandas has for columns that are read as a whole: whole numbers with gaps become floats."""
    empty = table.empty()
    found = {}
    for name in columns:
        dtype = empty[name].dtype
        if isinstance(dtype, np.dtype) and dtype.kind in "biu" and table.has_gaps(name):
            dtype = np.dtype(object if dtype.kind == "b" else "float64")
        found[name] = dtype
    return found


def common_dtype(table: TableFile, columns: Sequence[str]) -> np.dtype[Any]:
    """Give the type of an array of several columns, as `numbers` gives it for the whole table."""
    import pandas as pd

    row = {}
    for name, dtype in dtypes(table, columns).items():
        gap = not isinstance(dtype, np.dtype) and table.has_gaps(name)
        row[name] = pd.Series([pd.NA], dtype=dtype) if gap else pd.Series([0]).astype(dtype)
    return numbers(pd.DataFrame(row)).dtype
