"""The handwritten digits that come with scikit-learn: 1,797 real images, 8×8, 17 grey levels."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.keywords import source
from ppl_vae.datasets.preparation import Pixels


@source
def digits(*, validation: float = 0.1, test: float = 0.2, **how: Unpack[Pixels]) -> Dataset:
    """Load the digits, ``(1, 8, 8)``; no network and no file of yours is needed.

    Args:
        validation: fraction or number of data.
        test: fraction or number of data.
        how: see `Pixels`.

    References:
        Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, https://doi.org/10.24432/C50P49

    Example:
        >>> digits()
        Dataset(digits: train 1258, validation 180, test 359; x (1, 8, 8) binary)
    """
    images, labels = _read()
    return from_arrays(
        images.reshape(-1, 1, 8, 8).astype("uint8"),
        validation,
        test,
        labels=labels,
        levels=17,
        name="digits",
        class_names=[str(digit) for digit in range(10)],
        **how,
    )


def _read() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Grey levels, float64 ``(1797, 64)``, and classes, from scikit-learn's file: importing it takes 2 s."""
    package = importlib.util.find_spec("sklearn")
    folders = [] if package is None else list(package.submodule_search_locations or ())
    for folder in folders:
        if (path := Path(folder, "datasets", "data", "digits.csv.gz")).is_file():
            table = np.loadtxt(path, delimiter=",")
            return table[:, :-1], table[:, -1].astype(int)
    from sklearn.datasets import load_digits  # where it keeps the file elsewhere

    images, labels = load_digits(return_X_y=True)
    return images, labels
