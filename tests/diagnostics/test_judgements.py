"""Answers in words: each by the threshold of its diagnostic, and what was not examined is not answered."""

import math

import pytest

from ppl_vae.core.evidence import THRESHOLD
from ppl_vae.diagnostics.calibration import LEVEL
from ppl_vae.diagnostics.judgements import COVERED, HALVES, MANY, judgements

NEAR = {"precision": 0.95, "coverage": 0.96}
GOOD = {"nll": 23.4, "nll_se": 0.01, "elbo": -24.0, "pareto_k_bad": 0.0, "active_units": 2, "num_units": 2}
RANKS = {"p_value": 0.5, "verdict": "ranks are uniform", "coverage_90": 0.9, "simulations": 500}


def answers(summary, **findings):
    return [j.answer for j in judgements(summary, findings)]


def test_nothing_is_answered_of_a_run_that_nobody_has_looked_at():
    found = judgements(None)
    assert {j.answer for j in found} == {"not examined"}
    assert [j.verb for j in found] == ["evaluate", "calibrate", "evaluate", "evaluate"]
    assert "checks" in found[2].words


def test_all_is_well():
    found = judgements(
        GOOD, {"calibration": RANKS, "checks": {"mean_pit_p": 0.5, "largest_pit_p": 0.03}, "samples": NEAR}
    )
    assert [j.answer for j in found] == ["yes"] * 4  # 0.03 of two statistics is none
    assert not any(j.verb for j in found)


@pytest.mark.parametrize(
    ("bad", "answer", "words"),
    [
        (0.0, "yes", "can be trusted"),
        (MANY / 2, "with care", "these data cannot"),
        (MANY, "no", "misses mass"),
        (1.0, "no", "misses mass"),
    ],
)
def test_evidence_by_k_hat(bad, answer, words):
    first = judgements({**GOOD, "pareto_k_bad": bad})[0]
    assert first.answer == answer
    assert words in first.reason
    assert str(THRESHOLD) in first.reason


def test_evidence_without_k_hat():
    nan = {**GOOD, "pareto_k_bad": math.nan}
    assert answers(nan)[0] == "not examined"
    assert judgements({**nan, "nll_se": 0.0})[0].reason.startswith("It is exact")
    none = judgements({"reason": "the code is deterministic", "elbo": math.nan})
    assert [j.answer for j in none[:3]] == ["none"] * 3
    assert none[2].verb == "prior"  # it can be given one; neither calibrate nor checks would do
    assert "the code is deterministic" in none[0].reason


def test_annealing_stands_beside_importance_sampling():
    ais = {"nll": 233.42, "nll_importance": 233.64, "n": 50}
    assert "233.42" in judgements(GOOD, {"ais": ais})[0].reason


@pytest.mark.parametrize(
    ("p", "bad", "answer"),
    [(LEVEL, 0.0, "no"), (0.06, 0.0, "yes"), (0.06, 0.5, "with care"), (None, 0.0, "not examined"), (None, 0.5, "no")],
)
def test_intervals_by_ranks_and_by_k_hat(p, bad, answer):
    ranks = {} if p is None else {"calibration": {**RANKS, "p_value": p}}
    assert judgements({**GOOD, "pareto_k_bad": bad}, ranks)[1].answer == answer


@pytest.mark.parametrize(("p", "answer"), [([0.02, 0.5, 0.5], "yes"), ([0.016, 0.5, 0.5], "no"), ([0.05], "no")])
def test_samples_by_ranks_of_the_data_corrected_for_how_many(p, answer):
    checks = {f"s{i}_pit_p": value for i, value in enumerate(p)}
    found = judgements(GOOD, {"checks": checks, "samples": NEAR})[2]
    assert found.answer == answer
    assert "95% of samples" in found.reason


@pytest.mark.parametrize(("coverage", "answer"), [(COVERED, "yes"), (COVERED - 0.01, "with care")])
def test_samples_that_miss_data_do_not_look_like_them_whatever_their_statistics(coverage, answer):
    """Independent pixels have the right mean, deviation and largest value."""
    found = judgements(GOOD, {"checks": {"mean_pit_p": 0.5}, "samples": {**NEAR, "coverage": coverage}})[2]
    assert found.answer == answer
    assert f"{coverage:.0%} of data have a sample nearby" in found.reason


def test_statistics_alone_do_not_tell_that_samples_look_like_the_data():
    found = judgements(GOOD, {"checks": {"mean_pit_p": 0.5}})[2]
    assert (found.answer, found.verb) == ("with care", "evaluate")
    assert "samples" in found.words


def test_scores_without_a_threshold_answer_nothing():
    found = judgements(GOOD, {"samples": {"precision": 0.5, "coverage": 0.25}})[2]
    assert (found.answer, found.verb) == ("not examined", "evaluate")


@pytest.mark.parametrize(
    ("active", "units", "answer"), [(0, 8, "no"), (3, 8, "with care"), (4, 8, "yes"), (0, 0, "none")]
)
def test_codes_by_active_units(active, units, answer):
    assert answers({**GOOD, "active_units": active, "num_units": units})[3] == answer


@pytest.mark.parametrize(("kl", "answer"), [(0.1, "with care"), (HALVES, "yes"), (math.nan, "yes"), (None, "yes")])
def test_codes_whose_kl_cannot_tell_two_halves_apart(kl, answer):
    """All eight units of a barely trained pair are active by 0.01, with a KL of 0.14 nats in all."""
    found = judgements({**GOOD, "kl": kl})[3]
    assert found.answer == answer
    assert ("0.10 nats" in found.reason) == (answer == "with care")


def test_what_is_no_number_is_not_examined():
    """A run from elsewhere may say anything."""
    odd = {"p_value": "high", "verdict": 3, "coverage_90": None}
    assert answers({"pareto_k_bad": "none", "active_units": True}, calibration=odd, checks={"mean_pit_p": "x"}) == [
        "not examined",
        "not examined",
        "not examined",
        "none",
    ]
