"""Each diagnostic of this package has a title, a sentence and a meaning of every number."""

import pytest

from ppl_vae.reports import findings

FOUND = {
    "ais": {"nll": 233.4, "nll_se": 0.01, "acceptance": 0.7, "bracket": -0.009, "n": 50, "nll_importance": 233.6},
    "gaps": {"approximation": 0.1, "amortization": 0.2, "n": 40},
    "calibration": {
        "simulations": 500, "draws": 100, "seed": 0, "num_units": 6, "p_value": 1.0, "coverage_50": 0.476,
        "coverage_90": 0.88, "spread": 1.02, "tarp_p_value": 0.23, "verdict": "ranks are uniform",
    },
    "checks": {"mean_posterior_p": 0.8, "mean_pit_p": 0.26, "largest_posterior_p": 1.0, "largest_pit_p": 0.01},
    "latents": {"information_z": 3.2, "marginal_kl_z": 0.24},
    "probe": {"accuracy": 0.71, "chance": 0.14},
    "disentanglement": dict.fromkeys(
        ["mig", "sap", *(f"dci_{k}" for k in ("disentanglement", "completeness", "informativeness")), "factor_vae",
         "modularity"], 0.5
    ),
    "samples": {"features": "pixels", "n": 359, "precision": 0.94, "recall": 0.98, "density": 1.06, "coverage": 0.93,
                "frechet": 0.68},
}  # fmt: skip
SEEN = {"ais": "233.4", "gaps": "0.3", "calibration": "88.0%", "checks": "'largest'", "latents": "0.24",
        "probe": "71.0%", "disentanglement": "0.50", "samples": "94%"}  # fmt: skip


def test_all_are_here():
    assert set(FOUND) == set(findings.KNOWN)


@pytest.mark.parametrize("name", FOUND)
def test_each_is_told_with_its_numbers(name):
    assert SEEN[name] in findings.sentence(name, FOUND[name])
    rows = findings.rows(name, FOUND[name])
    assert {row["name"] for row in rows} == set(FOUND[name]) - {"verdict"}
    assert all(row["meaning"] for row in rows)


def test_labels_that_are_numbers():
    assert "12.0%" in findings.sentence("probe", {"r2": 0.12})


@pytest.mark.parametrize("odd", [{}, {"n": "x"}, dict.fromkeys(FOUND["samples"]), {"_pit_p": []}])
def test_what_is_not_as_it_was_written_has_no_sentence(odd):
    assert [findings.sentence(name, odd) for name in FOUND] == [""] * len(FOUND)


def test_a_diagnostic_of_somebody_else():
    assert findings.title("my_score") == "my score"
    assert findings.sentence("my_score", {"a": 1.0}) == ""
    assert findings.rows("my_score", {"a": {"b": 1.0}}) == [{"name": "a.b", "value": "1.000", "meaning": ""}]
