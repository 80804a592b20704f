"""A matrix with annotated rows and columns, as AnnData holds one; anndata itself is never imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppl_vae.datasets.keywords import perhaps
from ppl_vae.errors import DataError


@dataclass(frozen=True)
class Annotated:
    """A matrix, what is known of its rows, and the names of both.

    Attributes:
        x: ``(data, columns)``, dense or sparse.
        rows: names of the data.
        features: names of the columns of x.
        beside: columns ``(data,)`` by name.
    """

    x: Any
    rows: Sequence[str]
    features: tuple[str, ...]
    beside: Mapping[str, Any]

    def arrays(self, fields: Sequence[str]) -> Any:
        """Give what a data set is made of: x, or x with what is beside it by name."""
        return {"x": self.x, **{name: self.beside[name] for name in fields}} if fields else self.x


def is_annotated(data: Any) -> bool:
    """Tell whether data are an AnnData, which needs no import to be told."""
    return all(hasattr(data, name) for name in ("obs", "var_names", "obs_names", "layers", "X"))


def of_anndata(adata: Any, what: str, layer: str | None, names: Sequence[str]) -> Annotated:
    """Take a matrix and columns of ``obs`` from an AnnData.

    Args:
        adata: in memory.
        what: its name in messages.
        layer: the name of one of ``layers``; ``X`` by default.
        names: of columns of ``obs``.

    Raises:
        DataError: for a name that is not there, missing values in these columns, and what is not in memory.
    """
    if getattr(adata, "isbacked", False):
        raise DataError(f"Got an AnnData as {what} that is backed by a file, expected {what}.to_memory().")
    known(layer, "layer", list(adata.layers), what)
    x = adata.X if layer is None else adata.layers[layer]
    if x is None:
        raise DataError(f"Got an AnnData as {what} without X, expected a layer: {', '.join(adata.layers) or 'none'}.")
    for name in names:
        known(name, "a column", list(map(str, adata.obs.columns)), f"obs of {what}")
    beside = {name: without_gaps(adata.obs[name], name, what) for name in names}
    return Annotated(x, list(map(str, adata.obs_names)), tuple(map(str, adata.var_names)), beside)


def known(name: str | None, what: str, names: Any, where: str) -> None:
    """Refuse a name that is not there, telling those that are."""
    if name is not None and name not in names:
        some = list(names)
        raise DataError(
            f"Got {what} {name!r}, which {where} does not have, expected one of {', '.join(some[:20]) or '(none)'}"
            f"{perhaps(name, some)}"
        )


def without_gaps(values: Any, name: str, where: str) -> Any:
    """Give values of which none is missing."""
    import pandas as pd

    if number := int(np.asarray(pd.isna(values)).sum()):
        raise DataError(
            f"Got {number} missing values in column {name!r} of {where}, expected none: fill them or drop the rows."
        )
    return values
