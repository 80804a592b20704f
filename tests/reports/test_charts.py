"""The page's own drawings: what they show, in numbers and in words."""

import numpy as np
import pandas as pd
import pytest

from ppl_vae.reports import charts

ROWS = [
    {"epoch": e, "train/elbo": -30.0 + e, "validation/elbo": -31.0 + e, "validation/bound": -31.0 + e,
     "validation/log_likelihood": -28.0 + e, "validation/kl/z": 3.0, "validation/kl/w": 1.0, "beta": min(1.0, e / 3),
     "lr": 1e-3}
    for e in range(1, 6)
]  # fmt: skip


def test_learning_has_a_drawing_for_each_scale():
    found = charts.learning(ROWS)
    assert [c.title for c in found] == ["Evidence lower bound", "Reconstruction", "Rate", "Schedule of β"]
    assert [line.label for line in found[0].lines] == ["training ELBO", "validation ELBO"]  # the bound is the ELBO
    assert [line.label for line in found[2].lines] == ["KL of w", "KL of z"]
    assert "validation ELBO from −30.000 at epoch 1 to −26.000 at epoch 5" in found[0].alt
    assert all(c.x_name == "epoch" and c.y_name for c in found)


def test_another_objective_has_a_line_of_its_own():
    rows = [{**row, "validation/bound": row["validation/bound"] + 1} for row in ROWS]
    assert [line.label for line in charts.learning(rows)[0].lines][-1] == "validation bound"


def test_the_best_epoch_and_what_lies_between_training_and_validation():
    rows = [*ROWS, {"epoch": 6, "validation/bound": -100.0, "validation/elbo": None}]
    assert charts.best_epoch(rows) == (5.0, -26.0, "validation bound")
    assert charts.generalization(rows, 5.0) == pytest.approx(1.0)
    assert charts.generalization(rows, 6.0) is None
    assert charts.best_epoch([{"epoch": 1, "validation/elbo": float("nan")}]) is None
    assert charts.learning([{}, {"epoch": 1}]) == []


def test_k_hat_counts_each_datum_once():
    k = [-2.0, 0.1, 0.1, 0.69, 0.71, 5.0, float("inf"), float("nan")]
    chart, told = charts.pareto_k(k)
    assert sum(bar.height for bar in chart.bars) == 7
    assert sum(bar.height for bar in chart.bars if bar.colour == 2) == 3  # beyond 0.7
    assert told == chart.alt
    assert "42.9% exceed 0.7" in told


def test_every_site_is_there():
    table = pd.DataFrame(
        {"site": ["a"] * 3 + ["b"] * 2, "unit": [0, 1, 2, 0, 1], "kl": [1.0, 0.0, 2.0, 0.5, np.nan],
         "active": [True, False, True, True, True]}
    )  # fmt: skip
    chart, told = charts.units(table)
    assert [bar.height for bar in chart.bars] == [1.0, 0.0, 2.0, 0.5]
    assert [bar.colour for bar in chart.bars] == [1, 9, 1, 1]
    assert [word for _, word in chart.marks] == ["a", "b"]
    assert told == "3 of 4 units are active; a[2] has the largest KL, 2.000 of 3.500 nats over 2 sites."
    assert charts.units(table[table["kl"].isna()]) == (None, "")


def test_of_many_units_the_largest_are_drawn():
    kl = np.linspace(0, 1, 500)
    chart, told = charts.units(pd.DataFrame({"site": "z", "unit": range(500), "kl": kl, "active": True}))
    assert len(chart.bars) == charts.MOST_UNITS
    assert min(bar.height for bar in chart.bars) == pytest.approx(kl[-charts.MOST_UNITS])
    assert "of 500" in chart.title
    assert "500 of 500 units" in told
