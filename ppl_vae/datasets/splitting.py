"""Which data train, validate and test."""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor

from ppl_vae.errors import DataError


def count(share: float | None, size: int, name: str) -> int:
    """Read a share of `size` data as a number of data.

    Args:
        share: a fraction in (0, 1), a number of data, or 0 or None for none.
        size: how many data there are.
        name: of the split, for messages.

    Raises:
        DataError: for a share below 0, a fraction that comes to no datum, or one that leaves none over.
    """
    if share is None or share is False or share == 0:
        return 0
    whole = isinstance(share, Integral) and not isinstance(share, bool)
    if (not whole and not (isinstance(share, float) and 0 < share < 1)) or share < 0:
        raise DataError(
            f"Got {name}={share!r}, expected a fraction between 0 and 1, or a whole number of data of at "
            f"most {size - 1}."
        )
    number = int(share) if whole else round(share * size)
    if number == 0:
        raise DataError(
            f"Got {name}={share:g} of {size} data, which comes to no datum: use {name}=1 for one, or {name}=0 for none."
        )
    if number >= size:
        raise DataError(f"Got {name}={share:g} of {size} data, which leaves none to train on: use less.")
    return number


def split_indices(size: int, validation: float | None, test: float | None, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Divide 0, …, size − 1 at random into training, validation and test data, each in ascending order.

    Raises:
        DataError: see `count`; also where the two leave nothing to train on.
    """
    n_validation, n_test = count(validation, size, "validation"), count(test, size, "test")
    if n_validation + n_test >= size:
        raise DataError(
            f"Got validation={validation:g} and test={test:g} of {size} data, which leaves none to train on: use less."
        )
    if n_validation + n_test == 0:
        order = torch.arange(size)
    else:
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    held_out = n_validation + n_test
    parts = order[held_out:], order[:n_validation], order[n_validation:held_out]
    train, valid, tested = (part.sort().values for part in parts)
    return train, valid, tested
