"""Files that AnnData writes, h5ad, read by h5py alone: cells by genes, say, and what is known of the cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ppl_vae.datasets.annotated import Annotated, known, without_gaps
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.files import check_fits, existing_file, reading
from ppl_vae.datasets.keywords import source
from ppl_vae.datasets.npz import read_sparse
from ppl_vae.datasets.preparation import Preparation
from ppl_vae.datasets.reader import from_files
from ppl_vae.errors import DataError
from ppl_vae.files.hdf5 import require_contained, survives

KIND = "h5ad file"


def read_h5ad(
    path: str | Path, layer: str | None = None, names: Sequence[str] = (), *, matrix: bool = True
) -> Annotated:
    """Read the same from an h5ad file, of anndata 0.8 and later.

    Args:
        path: the file.
        layer: see `of_anndata`.
        names: see `of_anndata`.
        matrix: whether x is wanted, too.

    Raises:
        DataError: for a file that is missing, damaged or reaches out of itself, and what `of_anndata` refuses.
    """
    file = existing_file(path, f"an {KIND}")
    require_contained(file, DataError, KIND, "Copy or download it again.")
    if not survives(lambda: _read(file, layer, names, matrix=False)):
        raise DataError(f"Got {file}, in whose texts HDF5 breaks down, expected a whole {KIND}: copy it again.")
    return _read(file, layer, names, matrix=matrix)


def _read(file: Path, layer: str | None, names: Sequence[str], *, matrix: bool) -> Annotated:
    import h5py

    advice = "write it with anndata 0.8 or later"
    with reading(file, KIND, advice), h5py.File(file, "r") as content:
        if not isinstance(content.get("obs"), h5py.Group) or not isinstance(content.get("var"), h5py.Group):
            raise DataError(f"Got {file}, whose obs and var are no tables, expected an {KIND}: {advice}.")
        known(layer, "layer", list(content.get("layers", ())), str(file))
        key = "X" if layer is None else f"layers/{layer}"
        if matrix and key not in content:
            layers = ", ".join(content.get("layers", ())) or "none"
            raise DataError(f"Got {file} without X, expected a layer: {layers}.")
        is_sparse = isinstance(content.get(key), h5py.Group)
        kind = str(content[key].attrs["encoding-type"]) if is_sparse else ""  # a text, read without values, too
        x = _matrix(content[key], kind, f"{file}[{key!r}]") if matrix else None
        obs, var = content["obs"], content["var"]
        there = [name for name in obs if name != obs.attrs["_index"]]
        for name in names:
            known(name, "a column", there, f"obs of {file}")
        beside = {name: without_gaps(_column(obs[name]), name, str(file)) for name in names}
        rows, features = (list(map(str, _column(table[table.attrs["_index"]]))) for table in (obs, var))
    return Annotated(x, rows, tuple(features), beside)


@source
def h5ad(
    path: str | Path,
    *,
    layer: str | None = None,
    columns: Sequence[str] | None = None,
    label: str | None = None,
    fields: Sequence[str] = (),
    categories: Sequence[str] = (),
    standardize_fields: Sequence[str] = (),
    validation: float = 0.1,
    test: float = 0.1,
    **how: Unpack[Preparation],
) -> Dataset:
    """Load a matrix of cells by genes, say, with what is known of the cells, from an h5ad file; anndata is not needed.

    A sparse matrix stays sparse: rows are made dense batch by batch.

    Args:
        path: the file.
        layer: name of the matrix among its layers, such as ``counts``; ``X`` by default.
        columns: names of the columns of x, as ``var_names`` has them; all by default.
        label: name of the column of ``obs`` of labels, numbers or text.
        fields: names of columns of ``obs`` that the programs get beside x, `model(x, batch)`; text is a category.
        categories: names of those of them that are integers and categories, too.
        standardize_fields: names of those of them that networks see standardized, see `from_arrays`.
        validation: fraction or number of rows.
        test: fraction or number of rows.
        how: see `Preparation`.

    Raises:
        DataError: for a damaged file, names that are not there, and missing values in columns of ``obs``.
    """
    found = read_h5ad(path, layer, list(dict.fromkeys([*fields, *([] if label is None else [label])])))
    x, features = found.x, found.features
    if columns is not None:
        places = {name: place for place, name in enumerate(features)}
        for name in columns:
            known(name, "a column", places, f"var_names of {path}")
        x, features = x[:, [places[name] for name in columns]], tuple(columns)
    if x.dtype == np.uint8 and how["support"] is None and how["levels"] is None:
        how["support"] = "counts"  # cells are no pictures
    arrays = {"x": Annotated(x, found.rows, features, found.beside).arrays(fields)}
    if label is not None:
        arrays["labels"] = found.beside[label]
    told: Any = {"feature_names": features, "categories": categories, "standardize_fields": standardize_fields, **how}
    file = existing_file(path, f"an {KIND}")
    return from_files("h5ad", path, arrays, [file], validation=validation or 0, test=test or 0, **told)


def _matrix(stored: Any, kind: str, what: str) -> Any:
    if not kind:
        check_fits(stored.size * stored.dtype.itemsize, what, "Take a part of it, or write it as a sparse matrix.")
        return stored[()]
    parts = {key: stored[key][()] for key in ("data", "indices", "indptr")}
    return read_sparse(
        {**parts, "format": np.array(kind.removesuffix("_matrix")), "shape": np.asarray(stored.attrs["shape"])}, what
    )


def _column(stored: Any) -> Any:
    """A column of a table: numbers, text, a Categorical, or numbers of which some are missing."""
    import h5py
    import pandas as pd

    if isinstance(stored, h5py.Dataset):
        return stored.asstr()[()] if h5py.check_string_dtype(stored.dtype) else stored[()]
    if stored.attrs["encoding-type"] == "categorical":
        return pd.Categorical.from_codes(stored["codes"][()], _column(stored["categories"]))
    mask = stored["mask"][()]
    if not mask.any():
        return _column(stored["values"])
    values = np.asarray(_column(stored["values"]), object)
    values[mask] = None
    return values
