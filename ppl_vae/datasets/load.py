"""A source by its name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from ppl_vae.datasets.bars import bars
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.digits import digits
from ppl_vae.datasets.fashion_mnist import fashion_mnist
from ppl_vae.datasets.idx import idx
from ppl_vae.datasets.mnist import mnist
from ppl_vae.datasets.npz import npy, npz
from ppl_vae.datasets.ppca import ppca
from ppl_vae.datasets.sprites import sprites
from ppl_vae.datasets.tables import csv, parquet
from ppl_vae.errors import DataError

SOURCES: tuple[Callable[..., Dataset], ...] = (
    digits,
    mnist,
    fashion_mnist,
    idx,
    npz,
    npy,
    csv,
    parquet,
    ppca,
    bars,
    sprites,
)


def load(name: str, **options: Any) -> Dataset:
    """Load a data set by the name of its source: ``load("digits")`` is ``digits()``.

    Args:
        name: digits, mnist, fashion_mnist, idx, npz, npy, csv, parquet, ppca, bars or sprites.
        options: the keyword arguments of that function.

    Raises:
        DataError: for an unknown name or option, and whatever the source refuses.

    Example:
        >>> load("digits", binarization="threshold").spec.support
        'binary'
    """
    sources = {source.__name__: source for source in SOURCES}
    if name not in sources:
        raise DataError(f"Got the data set {name!r}, expected one of {', '.join(sources)}{_perhaps(name, sources)}.")
    known = inspect.signature(sources[name]).parameters
    for option in options:
        if option not in known:
            raise DataError(
                f"Got {option}={options[option]!r} for {name}, expected only "
                f"{', '.join(known)}{_perhaps(option, known)}."
            )
    if "path" in known and known["path"].default is inspect.Parameter.empty and "path" not in options:
        raise DataError(f"Got no path for {name}, expected path= with the place of the data.")
    return sources[name](**options)


def _perhaps(got: str, known: Any) -> str:
    close = difflib.get_close_matches(got, list(known), n=1)
    return f" (perhaps {close[0]!r})" if close else ""
