"""The distance of generated data from real ones, in a feature space of the user's. Imports no torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_vae.errors import ArgumentError, DataError
from ppl_vae.kinds import numbers

Array = NDArray[np.float64]


def sample_quality(real: Any, fake: Any, *, neighbours: int = 5) -> dict[str, float]:
    """Compare generated with real data by neighbourhoods and by moments.

    - `precision`: share of fakes within the neighbourhood of a real datum; `density`: in how many, over k.
    - `recall`: share of real data within the neighbourhood of a fake; `coverage`: share of real data with a fake in
      their own neighbourhood.
    - `frechet`: squared Fréchet distance between Gaussians with the moments of either set,
      ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½); in pixels or other features it is no FID, and falls with the number of
      data (compare sets of equal sizes).

    A neighbourhood of a datum is the ball that reaches its k-th neighbour in its own set.

    Args:
        real: features of real data, `(data, features)`.
        fake: features of generated data, as many.
        neighbours: k.

    Raises:
        DataError: for features that do not fit, or fewer data than neighbours.

    References:
        Kynkäänniemi et al. (2019), Improved Precision and Recall Metric for Assessing Generative Models,
            https://arxiv.org/abs/1904.06991
        Naeem et al. (2020), Reliable Fidelity and Diversity Metrics for Generative Models,
            https://arxiv.org/abs/2002.09797
        Heusel et al. (2017), GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium,
            https://arxiv.org/abs/1706.08500

    >>> rng = np.random.default_rng(0)
    >>> found = sample_quality(rng.normal(size=(500, 2)), rng.normal(size=(500, 2)))
    >>> found["coverage"] > 0.9, found["frechet"] < 0.1
    (True, True)
    """
    real, fake = (numbers(x, name, finite=True) for x, name in ((real, "real"), (fake, "fake")))
    real, fake = (x.reshape(len(x), -1) for x in (real, fake))
    if neighbours < 1:
        raise ArgumentError(f"Got neighbours={neighbours}, expected at least 1.")
    if real.shape[1] != fake.shape[1]:
        raise DataError(f"Got {real.shape[1]} real and {fake.shape[1]} generated features, expected equal numbers.")
    if min(len(real), len(fake)) <= neighbours:
        raise DataError(
            f"Got {len(real)} real and {len(fake)} generated data, expected more than neighbours={neighbours}."
        )
    own, other = _radii(real, neighbours), _radii(fake, neighbours)
    distance = _distances(real, fake)
    inside = distance <= own[:, None]
    return {
        "precision": float(inside.any(0).mean()),
        "recall": float((distance <= other[None]).any(1).mean()),
        "density": float(inside.sum(0).mean() / neighbours),
        "coverage": float(inside.any(1).mean()),
        "frechet": frechet(real, fake),
    }


def _distances(a: Array, b: Array) -> Array:
    square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(square, 0))


def _radii(x: Array, neighbours: int) -> Array:
    """Distance to the k-th neighbour, itself not counted."""
    return np.partition(_distances(x, x), neighbours, axis=1)[:, neighbours]


def frechet(a: Array, b: Array) -> float:
    """Squared Fréchet distance between Gaussians with the moments of two sets `(data, features)`."""
    (root, other), mean = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b)], a.mean(0) - b.mean(0)
    values, vectors = np.linalg.eigh(root)
    half = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ other @ half), 0)).sum()
    return float(max(mean @ mean + np.trace(root) + np.trace(other) - 2 * shared, 0.0))
