"""Disentanglement scores on codes whose scores are known."""

import numpy as np
import pytest

from ppl_vae.diagnostics.disentanglement import (
    dci,
    disentanglement,
    factor_vae_score,
    mig,
    modularity,
    mutual_information,
    sap,
)
from ppl_vae.errors import DataError


@pytest.fixture(scope="module")
def factors():
    return np.random.default_rng(0).integers(5, size=(4_000, 3))


def noise(factors, units, scale=0.02):
    return scale * np.random.default_rng(1).normal(size=(len(factors), units))


def test_a_unit_per_factor_scores_one(factors):
    codes = np.hstack([factors[:, ::-1] * [1.0, -2.0, 0.5], np.zeros((4_000, 2))]) + noise(factors, 5)
    for name, score in disentanglement(codes, factors).items():
        assert score > 0.95, name


def test_codes_of_noise_score_nothing(factors):
    """Chance: 1/3 for the vote, whose 800 held-out groups have a standard error of 0.017."""
    scores = disentanglement(noise(factors, 4), factors)
    assert scores["factor_vae"] == pytest.approx(1 / 3, abs=0.085)
    for name in ("mig", "sap", "dci_disentanglement", "dci_informativeness"):
        assert scores[name] < 0.06, name


def test_rotated_codes_are_informative_and_entangled(factors):
    two = factors[:, :2]
    codes = two @ np.array([[1.0, 1.0], [1.0, -1.0]]) + noise(two, 2)
    straight, rotated = disentanglement(two + noise(two, 2), two), disentanglement(codes, two)
    assert rotated["dci_informativeness"] > 0.8
    assert rotated["mig"] < 0.1
    assert rotated["sap"] < 0.1
    assert rotated["dci_disentanglement"] < 0.2
    assert rotated["modularity"] < 0.2
    assert all(straight[name] > 0.95 for name in straight)


def test_a_factor_in_two_units_is_modular_but_not_complete(factors):
    codes = np.hstack([factors, factors[:, :1] + 0.5]) + noise(factors, 4, 0.1)
    information, entropy = mutual_information(codes, factors)
    assert modularity(information) > 0.95
    assert mig(information, entropy) == pytest.approx(2 / 3, abs=0.05)  # no gap for the doubled factor
    assert sap(codes, factors) == pytest.approx(2 / 3, abs=0.05)
    assert dci(codes, factors)["dci_disentanglement"] > 0.95


def test_information_of_known_channels(factors):
    """A copy has I = H = log 5; a unit that tells 0 from the rest has the entropy of one fifth."""
    codes = np.stack([factors[:, 0], factors[:, 0] == 0], axis=1).astype(float)
    information, entropy = mutual_information(codes, factors)
    assert information[0, 0] == pytest.approx(entropy[0])
    assert entropy[0] == pytest.approx(np.log(5), abs=0.01)
    assert information[1, 0] == pytest.approx(-0.2 * np.log(0.2) - 0.8 * np.log(0.8), abs=0.03)


def test_seeded_and_refused(factors):
    codes = factors + noise(factors, 3, 1.0)
    assert disentanglement(codes, factors) == disentanglement(codes, factors)
    assert factor_vae_score(np.zeros((100, 2)), factors[:100]) == pytest.approx(1 / 3)
    with pytest.raises(DataError, match="same data"):
        disentanglement(codes[:10], factors)
    with pytest.raises(DataError, match="No factor varies"):
        disentanglement(codes, np.ones_like(factors))
