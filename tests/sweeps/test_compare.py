"""Ranking, groups, differences, and what is told of jobs that are not in them."""

import math

import pandas as pd
import pytest

from ppl_vae.errors import UsageError
from ppl_vae.sweeps.compare import compare, find_metric
from tests.sweeps.frames import betas, gathered


def test_ranks_by_the_unweighted_validation_elbo_and_never_by_the_objective():
    rows, tables = betas()
    made = compare(gathered(rows, tables=tables))
    assert made.metric.name == "validation/elbo"
    assert made.groups["objective.beta"].tolist() == [1.0, 2.0, 0.1]
    assert made.groups["verdict"].tolist() == ["best", "not told apart", "worse"]
    assert made.groups["over"].tolist()[1:] == ["seeds and data"] * 2
    assert made.differs_in == "test/elbo"
    assert made.runs["validation/elbo"].is_monotonic_decreasing
    own = compare(gathered(rows, tables=tables), "bound")
    assert own.groups["objective.beta"].tolist()[0] == 0.1
    assert any("own objective" in note for note in own.notes)


def test_means_and_errors_over_seeds():
    values = {0: (-1.0, -3.0), 1: (-5.0, -5.5)}
    rows = [
        {"keys": {"a": a, "seed": s}, "figures": {"validation/elbo": v}}
        for a, pair in values.items()
        for s, v in enumerate(pair)
    ]
    made = compare(gathered(rows))
    assert made.groups["mean"].tolist() == [-2.0, -5.25]
    assert made.groups["se"].tolist() == pytest.approx([1.0, 0.25])
    assert made.groups["difference"].tolist()[1] == pytest.approx(-3.25)
    assert made.groups["over"].tolist()[1] == "seeds"
    assert made.differs_in == "validation/elbo"
    everything = [v for pair in values.values() for v in pair]
    total = sum((v + 3.625) ** 2 for v in everything)
    assert made.importance.loc["a", "share"] == pytest.approx(4 * (3.25 / 2) ** 2 / total)


def test_lower_is_better_for_an_nll_and_its_direction_turns_the_verdict():
    rows, tables = betas()
    made = compare(gathered(rows, tables=tables), "nll")
    assert (made.metric.name, made.metric.up, made.differs_in) == ("test/nll", False, "test/nll")
    assert made.groups["mean"].is_monotonic_increasing
    worst = made.groups.iloc[-1]
    assert worst["difference"] > 0
    assert worst["verdict"] == "worse"


def test_nlls_of_different_numbers_of_particles_are_kept_apart():
    rows, tables = betas(seeds=2)
    for job in (4, 5):
        rows[job]["figures"] |= {"test/num_particles": 5000.0, "test/nll": 1.0}  # seems the best
    made = compare(gathered(rows, tables=tables), "nll")
    assert made.groups["basis"].tolist() == ["100 particles", "100 particles", "5000 particles"]
    assert made.groups["verdict"].tolist() == ["best", "worse", "not comparable"]
    assert made.groups["front"].tolist()[2] is False
    assert math.isnan(made.groups["difference"].iloc[2])
    assert made.runs.index.tolist()[-2:] == [4, 5]
    assert any("5000 particles" in note and "evaluate" in note for note in made.notes)
    rows[0]["figures"] |= {"test/num_particles": 5000.0}  # three and three: more particles are the better figures
    assert compare(gathered(rows, tables=tables), "nll").groups["basis"].iloc[0] == "5000 particles"
    assert (
        compare(gathered(rows, tables=tables)).groups["basis"].tolist() == [""] * 3
    )  # the ELBO does not depend on them


def test_seeds_of_one_group_with_different_particles_are_two_groups():
    rows, tables = betas(seeds=2)
    rows[0]["figures"] |= {"test/num_particles": 7.0}
    made = compare(gathered(rows, tables=tables), "nll")
    assert made.groups["runs"].tolist().count(1) == 2
    assert made.groups["basis"].tolist()[-1] == "7 particles"


def test_a_deterministic_code_has_no_bound_to_win_with():
    rows = [
        {"keys": {"model": "vae", "seed": 0}, "figures": {"validation/elbo": -27.0}},
        {"keys": {"model": "ae", "seed": 0}, "figures": {"validation/elbo": -5.0}, "no_evidence": "deterministic"},
    ]
    made = compare(gathered(rows))
    assert made.groups["model"].tolist() == ["vae", "ae"]
    assert made.groups["verdict"].tolist() == ["best", "not comparable"]
    alone = compare(gathered(rows[1:]))
    assert alone.groups["verdict"].tolist() == ["best"]


def test_jobs_that_did_not_finish_are_named():
    rows, tables = betas()
    rows[3] |= {"state": "failed", "reason": "it broke"}
    rows[3]["figures"] = {}
    rows += [{"keys": {"objective.beta": 8.0, "seed": s}, "state": "missing"} for s in (0, 1, 2)]
    made = compare(gathered(rows, tables={j: t for j, t in tables.items() if j != 3}))
    assert "1 failed, not ranked: job 3." in made.notes
    assert "3 missing, not ranked: jobs 9–11." in made.notes
    assert "1 group without a finished run: (objective.beta=8.0)." in made.notes
    group = made.groups[made.groups["objective.beta"] == 1.0].iloc[0]
    assert (group["runs"], group["planned"]) == (2, 3)
    assert len(made.runs) == 12
    assert made.runs.loc[3, "reason"] == "it broke"
    none = compare(gathered([{"keys": {"seed": 0}, "state": "missing"}]))
    assert (len(none.groups), len(none.runs)) == (0, 1)


def test_a_finished_run_without_the_figure_is_named():
    rows, tables = betas()
    del rows[8]["figures"]["test/nll"]
    assert "Without test/nll, not ranked: job 8." in compare(gathered(rows, tables=tables), "nll").notes


def test_a_run_without_figures_per_datum_is_named():
    rows, tables = betas()
    assert not any("per test datum" in note for note in compare(gathered(rows, tables=tables)).notes)
    made = compare(gathered(rows, tables={j: t for j, t in tables.items() if j != 7}))
    assert any(note.startswith("Without figures per test datum, which others have: job 7;") for note in made.notes)
    assert made.groups.set_index("objective.beta")["verdict"].to_dict()[2.0] == "not known"


def test_other_test_data_are_not_paired_datum_by_datum():
    rows, tables = betas()
    data = {job: "a" if job < 6 else "b" for job in tables}
    made = compare(gathered(rows, tables=tables, data=data))
    by_beta = made.groups.set_index("objective.beta")["over"]
    assert (by_beta[0.1], by_beta[2.0]) == ("seeds and data", "seeds")


def test_group_chooses_what_is_averaged():
    rows, tables = betas()
    made = compare(gathered(rows, tables=tables), group="seed")
    assert made.groups["runs"].tolist() == [3, 3, 3]
    assert set(made.groups["seed"]) == {0, 1, 2}
    everything = compare(gathered(rows, tables=tables), group=[])
    assert (everything.by, everything.groups["runs"].tolist()) == ((), [9])


def test_sort_changes_rows_and_not_ranks():
    rows, tables = betas()
    made = compare(gathered(rows, tables=tables), sort="-objective.beta")
    assert made.groups["objective.beta"].tolist() == [2.0, 1.0, 0.1]
    assert made.groups["group"].tolist() == [2, 1, 3]
    assert made.runs["objective.beta"].is_monotonic_decreasing
    assert compare(gathered(rows, tables=tables), sort="nll").runs["test/nll"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"metric": "nlll"}, r"no run has this figure; did you mean nll"),
        ({"metric": "epochs"}, "neither higher nor lower"),
        ({"group": "objective.bet"}, r"did you mean objective\.beta"),
        ({"sort": "sed"}, "did you mean seed"),
    ],
)
def test_a_misspelt_name_names_the_near_ones(words, told):
    rows, tables = betas()
    rows[0]["figures"] |= {"validation/epochs": 1.0}
    with pytest.raises(UsageError, match=told):
        compare(gathered(rows, tables=tables), **words)


def test_a_figure_is_found_by_its_short_name_in_the_first_part_that_has_it():
    figures = pd.DataFrame({"test/nll": [1.0], "validation/elbo": [-1.0], "test/elbo": [-1.0], "seconds": [2.0]})
    assert find_metric("nll", figures).name == "test/nll"
    assert find_metric("elbo", figures).name == "validation/elbo"
    assert find_metric("test/elbo", figures).name == "test/elbo"
    assert find_metric("seconds", figures).up is False
    assert find_metric(None, figures[["test/elbo"]]).name == "test/elbo"
