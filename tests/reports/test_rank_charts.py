"""Drawings of ranks: they say how many units leave the band, as the p-values do."""

import re

import numpy as np
import pytest

from ppl_vae.diagnostics.calibration import TARP
from ppl_vae.reports.rank_charts import MOST_SITES, MOST_UNITS, rank_charts

RNG = np.random.default_rng(0)
UNIFORM = RNG.uniform(size=(500, 3))
NARROW = RNG.beta(0.5, 0.5, size=(500, 2))
"""Ranks of a guide that is much too narrow: they pile up at both ends."""


def test_a_narrow_guide_leaves_the_band_and_an_exact_one_does_not():
    first, second, coverage = rank_charts({"z": UNIFORM, "w": NARROW})
    assert first.title == "Ranks of w: 2 of 2 units leave the band"  # the one that departs most comes first
    assert second.title == "Ranks of z: 0 of 3 units leave the band"
    assert {line.colour for line in first.lines} == {2}
    assert {line.colour for line in second.lines} == {1}
    held = float(re.search(r"w: 90% intervals hold ([0-9.]+)%", coverage.alt)[1]) / 100
    exact = 1 - 4 / np.pi * np.arcsin(0.05**0.5)  # of 1000 ranks; 4 standard errors are 0.057, a false alarm in 16,000
    assert held == pytest.approx(exact, abs=0.057)
    assert all(x.svg for x in (first, second, coverage))


def test_all_units_together_come_first():
    charts = rank_charts({"z": NARROW, TARP: UNIFORM[:, :1]})
    assert charts[0].title == "All units together (TARP): stays within the band"
    assert [line.label for line in charts[0].lines] == ["all units"]
    assert TARP not in charts[-1].alt


def test_of_many_the_worst_are_drawn():
    charts = rank_charts({f"z_{i}": np.concatenate([UNIFORM] * 4, 1) for i in range(10)} | {"w": NARROW})
    assert len(charts) == MOST_SITES + 1
    assert charts[0].title.startswith("Ranks of w")
    assert len(charts[1].lines) == MOST_UNITS


@pytest.mark.parametrize("odd", [{}, {"z": np.zeros((0, 2))}, {"z": np.full((5, 1), np.nan)}, {"z": np.zeros((5, 0))}])
def test_nothing_to_draw(odd):
    assert rank_charts(odd) == []
