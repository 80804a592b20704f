"""A source by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.digits import digits
from ppl_vae.datasets.h5ad import h5ad
from ppl_vae.datasets.idx import idx
from ppl_vae.datasets.keywords import perhaps
from ppl_vae.datasets.mnist import fashion_mnist, mnist
from ppl_vae.datasets.npz import npy, npz
from ppl_vae.datasets.sprites import sprites
from ppl_vae.datasets.synthetic import bars, ppca
from ppl_vae.datasets.tables import arrow, csv, parquet
from ppl_vae.errors import DataError

Source = Callable[..., Dataset]
SOURCES: tuple[Source, ...] = (
    *(digits, mnist, fashion_mnist, idx, npz, npy, csv, parquet, arrow, h5ad),
    *(ppca, bars, sprites),
)


def load(name: str, **options: Any) -> Dataset:
    """Load a data set by the name of its source: ``load("digits")`` is ``digits()``.

    Args:
        name: digits, mnist, fashion_mnist, idx, npz, npy, csv, parquet, arrow, h5ad, ppca, bars or sprites.
        options: the keyword arguments of that function.

    Raises:
        DataError: for an unknown name, and whatever the source refuses.
        ArgumentError: for an unknown option.

    Example:
        >>> load("digits", binarization="threshold").spec.support
        'binary'
    """
    sources = {source.__name__: source for source in SOURCES}
    if name not in sources:
        raise DataError(f"Got the data set {name!r}, expected one of {', '.join(sources)}{perhaps(name, sources)}")
    path = inspect.signature(sources[name]).parameters.get("path")
    if path is not None and path.default is path.empty and "path" not in options:
        raise DataError(f"Got no path for {name}, expected path= with the place of the data.")
    return sources[name](**options)
