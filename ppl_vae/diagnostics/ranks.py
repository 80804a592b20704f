"""Are ranks uniform? Simultaneous bands for empirical distribution functions, and coverage. Imports no torch."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

Array = NDArray[np.float64]


def ecdf_difference(values: ArrayLike, points: ArrayLike) -> Array:
    """Give F̂(t) − t for values in [0, 1], `(n, units)`, at points t: `(points, units)`.

    >>> ecdf_difference([[0.25], [0.75]], [0.5]).tolist()
    [[0.0]]
    """
    values = np.sort(np.asarray(values, dtype=np.float64), axis=0)
    points = np.asarray(points, dtype=np.float64)
    counts = np.stack([np.searchsorted(column, points, side="right") for column in values.T], axis=1)
    return counts / len(values) - points[:, None]


@lru_cache(maxsize=32)
def band_level(n: int, num_points: int, alpha: float = 0.05, simulations: int = 4_000) -> float:
    """Find the pointwise level at which bands for an ECDF of n uniform values hold everywhere at once.

    Found by simulation with a fixed seed: for each of many uniform samples, the smallest pointwise two-sided
    binomial tail; its α-quantile is the level.

    Args:
        n: number of values.
        num_points: evaluation points 1/(num_points + 1), 2/(num_points + 1), …
        alpha: probability with which a uniform sample leaves the bands anywhere.
        simulations: samples drawn to find the level; its relative standard error is about √((1 − α)/(α · this)).

    Reference:
        Säilynoja, Bürkner, Vehtari (2022), Graphical test for discrete uniformity and its applications in
        goodness-of-fit evaluation and multiple sample comparison, Statistics and Computing 32.
    """
    rng = np.random.default_rng(0)
    points = grid(num_points)
    # Counts below each point are partial sums of a multinomial sample: no sorting needed.
    cells = rng.multinomial(n, np.full(num_points + 1, 1 / (num_points + 1)), size=simulations)
    return float(np.quantile(_two_sided(cells.cumsum(axis=1)[:, :-1], n, points).min(axis=1), alpha))


def grid(num_points: int) -> Array:
    """Give the points at which bands are evaluated."""
    return np.arange(1, num_points + 1) / (num_points + 1)


def _two_sided(counts: NDArray[np.int64], n: int, points: Array) -> Array:
    below, above = binom.cdf(counts, n, points), binom.sf(counts - 1, n, points)
    return 2 * np.minimum(np.minimum(below, above), 0.5)


def simultaneous_band(n: int, num_points: int, alpha: float = 0.05) -> tuple[Array, Array]:
    """Give lower and upper limits of F̂(t) − t at `grid(num_points)` that hold everywhere at once."""
    level, points = band_level(n, num_points, alpha), grid(num_points)
    low, high = binom.ppf(level / 2, n, points), binom.ppf(1 - level / 2, n, points)
    return low / n - points, high / n - points


def uniformity_p(values: ArrayLike, num_points: int = 50, simulations: int = 4_000) -> Array:
    """Give p-values of "the values are uniform", one per unit, from the largest departure of the ECDF.

    Args:
        values: numbers in [0, 1], `(n, units)`.
        num_points: evaluation points.
        simulations: uniform samples that the departure is compared with: no p-value is below 1/(this + 1).

    >>> rng = np.random.default_rng(0)
    >>> p = uniformity_p(np.stack([rng.uniform(size=500), rng.beta(2, 2, size=500)], axis=1))
    >>> bool(p[0] > 0.05), bool(p[1] < 0.01)
    (True, True)
    """
    values = np.asarray(values, dtype=np.float64)
    n, points = len(values), grid(num_points)
    counts = np.rint((ecdf_difference(values, points) + points[:, None]) * n).astype(np.int64)
    observed = _two_sided(counts.T, n, points).min(axis=1)
    reference = np.sort(_smallest_tails(n, num_points, simulations))
    return (1 + np.searchsorted(reference, observed, side="right")) / (simulations + 1)


@lru_cache(maxsize=8)
def _smallest_tails(n: int, num_points: int, simulations: int) -> Array:
    rng = np.random.default_rng(1)
    cells = rng.multinomial(n, np.full(num_points + 1, 1 / (num_points + 1)), size=simulations)
    return np.asarray(_two_sided(cells.cumsum(axis=1)[:, :-1], n, grid(num_points)).min(axis=1))


def central_coverage(values: ArrayLike, levels: ArrayLike) -> Array:
    """Give how often the truth lies in the central interval of each level, `(levels, units)`.

    A truth whose rank is u in [0, 1] lies in the central interval of level |2u − 1| and all wider ones.
    """
    distance = np.abs(2 * np.asarray(values, dtype=np.float64) - 1)
    return np.stack([(distance <= level).mean(axis=0) for level in np.asarray(levels)])
