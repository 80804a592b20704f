"""The handwritten digits that come with scikit-learn: 1,797 real images, 8×8, 17 grey levels."""

from __future__ import annotations

from typing import Unpack

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
    from sklearn.datasets import load_digits  # takes 2 s to import

    images, labels = load_digits(return_X_y=True)
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
