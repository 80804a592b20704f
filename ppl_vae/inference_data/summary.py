"""Draws of a posterior summed up, a row per unit. Imports neither torch nor ArviZ."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

WITHIN = 0.94
"""Probability of the interval: ArviZ's default until its generation 1."""

AT_ONCE = 2**20
"""Draws of some units that are sorted at a time."""


def summary(posterior: xr.Dataset) -> pd.DataFrame:
    """Give mean, standard deviation and the narrowest interval that holds 94% of the draws of each unit.

    These are the numbers of `az.summary(…, kind="stats")` in ArviZ 0.23, whichever generation is installed: importing
    it takes a second, and its summary another one for every few hundred data.

    Args:
        posterior: variables `(chain, draw, …)`.

    Returns:
        A row for each element of each variable, called `z[label, …]` by its labels along the dimensions after chain and
        draw, with the columns `mean`, `sd`, `hdi_3%` and `hdi_97%`, rounded to three decimals. NaN where a draw is NaN;
        the standard deviation of one draw is NaN, too.

    Example:
        >>> z = np.arange(100.0).reshape(1, 100, 1) + np.array([0.0, 1000.0])
        >>> summary(xr.Dataset({"z": (("chain", "draw", "datum"), z)}, {"datum": [4, 7]}))
                mean      sd  hdi_3%  hdi_97%
        z[4]    49.5  29.011     0.0     94.0
        z[7]  1049.5  29.011  1000.0   1094.0
    """
    names: list[str] = []
    found: list[NDArray[np.float64]] = [np.empty((0, 4))]
    for name, value in posterior.data_vars.items():
        value = value.transpose("chain", "draw", ...)
        labels = (value[dim].values for dim in value.dims[2:])
        inside = [", ".join(f"{label}" for label in place) for place in itertools.product(*labels)]
        names += [f"{name}[{place}]" if place else str(name) for place in inside]
        found.append(_statistics(value.values.reshape(value.shape[0] * value.shape[1], -1)))
    low, high = (f"hdi_{100 * p:.0f}%" for p in ((1 - WITHIN) / 2, (1 + WITHIN) / 2))
    return pd.DataFrame(np.concatenate(found), index=names, columns=["mean", "sd", low, high]).round(3)


def _statistics(draws: NDArray[Any]) -> NDArray[np.float64]:
    """Mean, standard deviation and interval of draws `(draws, units)`: `(units, 4)`."""
    count, units = draws.shape
    result = np.full((units, 4), np.nan)
    held = int(np.floor(WITHIN * count))
    size = max(1, AT_ONCE // max(count, 1))
    for start in range(0, units, size):
        some, at = np.array(draws[:, start : start + size].T, np.float64, order="C"), slice(start, start + size)
        with np.errstate(invalid="ignore"):  # where a draw is infinite
            result[at, 0] = some.mean(1)
            if count > 1:
                result[at, 1] = some.std(1, ddof=1)
            some.sort(1)
            width = some[:, held:] - some[:, : count - held]
        narrowest = width.argmin(1)
        rows = np.arange(len(some))
        known = ~np.isnan(some[:, -1])  # where NaN is sorted to
        result[at, 2] = np.where(known, some[rows, narrowest], np.nan)
        result[at, 3] = np.where(known, some[rows, narrowest + held], np.nan)
    return result
