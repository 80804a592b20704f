"""Sample quality where it is known."""

import numpy as np
import pytest

from ppl_vae.diagnostics.sample_quality import frechet, sample_quality
from ppl_vae.errors import DataError


def normal(n, d=2, seed=0, loc=0.0, scale=1.0):
    return loc + scale * np.random.default_rng(seed).normal(size=(n, d))


def test_equal_distributions():
    """Density is 1 in expectation; 2,000 data: coverage 1 − 2⁻⁵ ≈ 0.97 with k = 5 (Naeem et al., their formula)."""
    found = sample_quality(normal(2_000), normal(2_000, seed=1))
    assert found["density"] == pytest.approx(1.0, abs=0.05)
    assert found["coverage"] == pytest.approx(1 - 2**-5, abs=0.02)
    assert found["precision"] > 0.95
    assert found["recall"] > 0.95


def test_a_missed_mode_costs_recall_not_precision():
    real = np.vstack([normal(500), normal(500, seed=1, loc=10.0)])
    found = sample_quality(real, normal(1_000, seed=2))
    assert found["precision"] > 0.95
    assert found["recall"] == pytest.approx(0.5, abs=0.05)
    assert found["coverage"] == pytest.approx(0.5, abs=0.03)


def test_an_invented_mode_costs_precision_not_recall():
    fake = np.vstack([normal(500), normal(500, seed=1, loc=10.0)])
    found = sample_quality(normal(1_000, seed=2), fake)
    assert found["precision"] == pytest.approx(0.5, abs=0.05)
    assert found["recall"] > 0.9
    assert found["density"] == pytest.approx(0.5, abs=0.1)


def test_frechet_of_gaussians():
    """‖1‖² d + d (3 − 1)² for N(0, 1) and N(1, 3²): 15 in three dimensions."""
    assert frechet(normal(100_000, 3), normal(100_000, 3, 1, 1.0, 3.0)) == pytest.approx(15.0, rel=0.02)
    rotation = np.linalg.qr(normal(3, 3, 5))[0]
    a, b = normal(1_000, 3) * [1, 2, 3], normal(1_000, 3, 1)
    assert frechet(a @ rotation, b @ rotation) == pytest.approx(frechet(a, b))
    assert frechet(a, a) == pytest.approx(0.0, abs=1e-6)


def test_refused():
    with pytest.raises(DataError, match="equal numbers"):
        sample_quality(normal(10, 2), normal(10, 3))
    with pytest.raises(DataError, match="more than neighbours"):
        sample_quality(normal(5), normal(10))
