"""Files with a row for each datum: csv, parquet, npz."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppl_vae import files
from ppl_vae.cli.artifacts import save_arrays
from ppl_vae.datasets.columns import named
from ppl_vae.errors import DataError
from ppl_vae.runs.files import write_atomically
from ppl_vae.runs.tables import to_csv

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.cli.new_data import Asked
    from ppl_vae.datasets import Spec

COLUMNS = 10_000
"""The most columns of a table; more are no table that somebody looks at: npz has them as arrays."""


@dataclass(frozen=True)
class Known:
    """The part of x that is not made but known.

    Attributes:
        values: `(data, features)`, by the names of the features, as the user's own table has them.
        where: true for what is known, `(data, features)`.
    """

    values: pd.DataFrame
    where: NDArray[np.bool_]

    def again(self, times: int) -> Known:
        """The same several times, one after the other."""
        import pandas as pd

        return Known(pd.concat([self.values] * times), np.tile(self.where, (times, 1)))

    def put_into(self, made: NDArray[Any], place: int, name: str, kind: str) -> Any:
        """A feature of numbers with what is known as it is written; parquet has a column of one type, of numbers."""
        import pandas as pd

        where = self.where[:, place]
        mixed = pd.Series(np.where(where, self.values[name].astype(object), made.astype(object)))
        if kind == "csv":
            return mixed.to_numpy()
        return pd.to_numeric(mixed).to_numpy() if where.all() else pd.to_numeric(mixed).to_numpy(np.float64)


def save_rows(
    folder: Path,
    asked: Asked,
    arrays: Mapping[str, NDArray[Any]],
    kind: str,
    spec: Spec,
    known: Known | None = None,
) -> Path:
    """Write arrays `(data, …)` with the names of their rows, into `FOLDER/NAME.csv`, `.parquet` or `.npz`.

    Args:
        folder: in the run.
        asked: the data.
        arrays: by name; of a table a column an element: `z[0]`, or the names of the features of x.
        kind: `csv`, `parquet`, `npz`, or `auto`: csv unless there are images.
        spec: of the data, for the names of columns.
        known: of x in a table of the user's own columns, where some of it is.

    Raises:
        DataError: for a table of too many columns, or parquet without what writes it.
    """
    kind, wide = kind_of_file(arrays, kind), is_wide(arrays)
    path = files.folder(folder) / f"{asked.name}.{kind}"
    if kind == "npz":
        return save_arrays(path, {asked.id: asked.rows, **arrays})
    if wide:
        raise DataError(f"save={kind}: got a table of more than {COLUMNS} columns, expected save=npz")
    import pandas as pd

    alone = {asked.id, *(key for key, a in arrays.items() if a.ndim == 1)}
    put = None if known is None else partial(known.put_into, kind=kind)
    columns = {name: column for key, a in arrays.items() for name, column in _columns(key, a, spec, alone, put)}
    frame = pd.DataFrame(columns, index=pd.Index(asked.rows, name=asked.id))
    if kind == "csv":
        write_atomically(path, to_csv(frame))
        return path
    buffer = io.BytesIO()
    try:
        frame.to_parquet(buffer)
    except ImportError:
        raise DataError("save=parquet takes pyarrow, which is not installed: pip install 'ppl-vae[parquet]'") from None
    write_atomically(path, buffer.getvalue())
    return path


def kind_of_file(arrays: Mapping[str, NDArray[Any]], kind: str) -> str:
    """The kind of file that arrays `(data, …)` are written to: of `auto` csv, unless there are images."""
    image = any(a.ndim > 2 for a in arrays.values())
    return ("npz" if image or is_wide(arrays) else "csv") if kind == "auto" else kind


def is_wide(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Tell whether arrays are more columns than a table has."""
    return sum(int(np.prod(a.shape[1:])) for a in arrays.values()) > COLUMNS


def _columns(
    key: str, values: NDArray[Any], spec: Spec, taken: Collection[str], put: Callable[..., Any] | None
) -> list[tuple[str, NDArray[Any]]]:
    """The elements of an array `(data, …)`, each with its name: a feature that bears one of the others is `x[name]`."""
    if values.ndim == 1:
        return [(key, values)]
    if key == "x" and spec.feature_names and values.shape[1:] == spec.shape:
        found = []
        for i, name in enumerate(spec.feature_names):
            column = values[:, i] if spec.columns is None else named(spec.columns[i], values[:, i])
            if put is not None and not (spec.columns and spec.columns[i].names):  # words are those of the table
                column = put(column, i, name)
            found.append((f"x[{name}]" if name in taken else name, column))
        return found
    return [
        (f"{key}[{','.join(map(str, index))}]", values[(slice(None), *index)]) for index in np.ndindex(values.shape[1:])
    ]
