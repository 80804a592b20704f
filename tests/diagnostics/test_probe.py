"""The linear probe on codes that hold a label, or do not."""

import numpy as np
import pytest

from ppl_vae.diagnostics.probe import linear_probe
from ppl_vae.errors import DataError

RNG = np.random.default_rng(0)
CODES = RNG.normal(size=(2_000, 4))


def test_bayes_accuracy_of_two_gaussians():
    """Classes at ±1 of unit variance: the best linear rule has accuracy Φ(1) = 0.841; 1,000 data, 5 errors: 0.06."""
    labels = RNG.integers(2, size=2_000)
    codes = CODES + np.array([1.0, 0, 0, 0]) * (2 * labels - 1)[:, None]
    found = linear_probe(codes, labels)
    assert found["accuracy"] == pytest.approx(0.841, abs=0.06)
    assert found["chance"] == pytest.approx(0.5, abs=0.08)


def test_nothing_to_find():
    """Accuracy of a coin within 5 standard errors of 1,000 throws."""
    assert linear_probe(CODES, RNG.integers(2, size=2_000))["accuracy"] == pytest.approx(0.5, abs=0.08)


def test_numbers():
    """y = 2 c + noise of variance 1: R² = 4/5."""
    y = 2 * CODES[:, 2] + RNG.normal(size=2_000)
    assert linear_probe(CODES, y)["r2"] == pytest.approx(0.8, abs=0.04)


def test_refused():
    with pytest.raises(DataError, match="alike"):
        linear_probe(CODES, np.zeros(2_000, dtype=int))
    with pytest.raises(DataError, match="as many"):
        linear_probe(CODES, np.zeros(3, dtype=int))
