"""What a comparison answers: by the verdicts of groups, by the states of jobs, and by what each run answers itself."""

import pytest

from ppl_vae.reports.comparison_verdict import verdict
from ppl_vae.sweeps.compare import compare
from tests.sweeps.frames import betas, gathered


def of(found):
    states = {str(k): int(v) for k, v in found.states["state"].value_counts().items()}
    return verdict(compare(found), "the outcome.", states)


def test_some_groups_are_told_apart():
    rows, tables = betas()
    first, second = of(gathered(rows, tables=tables))[:2]
    assert (first.answer, first.reason) == ("with care", "the outcome.")  # β = 0.1 is worse, β = 2 is not told apart
    assert (second.answer, second.reason) == ("yes", "9 of 9 jobs finished.")


@pytest.mark.parametrize(("betas_left", "answer"), [((0.1, 1.0), "yes"), ((1.0, 2.0), "no"), ((1.0,), "none")])
def test_all_none_or_a_single_one(betas_left, answer):
    rows, tables = betas()
    kept = [i for i, row in enumerate(rows) if row["keys"]["objective.beta"] in betas_left]
    found = gathered([rows[i] for i in kept], tables={n: tables[i] for n, i in enumerate(kept)})
    assert of(found)[0].answer == answer


def test_without_intervals_it_is_not_examined():
    rows, _ = betas(seeds=1)
    first = of(gathered(rows))[0]
    assert (first.answer, first.verb) == ("not examined", "evaluate")


def test_jobs_that_failed_are_counted():
    rows, tables = betas()
    rows[0] |= {"state": "failed", "reason": "x"}
    second = of(gathered(rows, tables=tables))[1]
    assert (second.answer, second.reason) == ("with care", "8 of 9 jobs finished; 1 failed.")
    nothing = of(gathered([{"keys": {}, "state": "missing"}]))
    assert [(j.answer, j.about) for j in nothing] == [("none", "groups"), ("no", "runs")]


def test_runs_are_judged_as_their_own_pages_do():
    rows, tables = betas()
    for i, row in enumerate(rows):
        row["figures"] |= {
            "test/pareto_k_bad": 0.5 if i == 4 else 0.0, "test/active_units": 2.0, "test/num_units": 2.0,
        }  # fmt: skip
    evidence, codes = of(gathered(rows, tables=tables))[2:]
    assert evidence.answer == "no"
    assert evidence.reason.startswith("Of 9 runs: 1 no, 8 yes. Of job 4: k̂ exceeds 0.7 for 50.0% of the data")
    assert codes.answer == "yes"
    assert "2 of 2 units" in codes.reason


def test_one_seed_a_group_is_no_plain_yes():
    """Intervals are over test data alone then: the same groups, told apart with three seeds, are not with one."""
    rows, tables = betas(seeds=1)
    found = gathered(rows[:2], tables={n: tables[n] for n in range(2)})
    assert of(found)[0].answer == "with care"
