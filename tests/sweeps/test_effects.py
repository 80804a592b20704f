"""Shares of variance and the Pareto front against closed forms."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from ppl_vae.sweeps.effects import importance, pareto, standard_error


def grid(**levels):
    return pd.DataFrame(list(itertools.product(*levels.values())), columns=list(levels), dtype=object)


def test_shares_of_a_full_grid_are_the_variances_of_its_effects():
    """y = f(a) + g(b) without interaction: the shares are Var f and Var g over their sum, and add up to 1."""
    f, g = {"x": 0.0, "y": 3.0, "z": 4.0}, {1: -1.0, 10: 2.0}
    keys = grid(a=list(f), b=list(g), seed=[0, 1])
    y = pd.Series([f[a] + g[b] for a, b, _ in keys.itertuples(index=False)])
    found = importance(keys, y)
    parts = np.var(list(f.values())), np.var(list(g.values()))
    assert found.loc["a", "share"] == pytest.approx(parts[0] / sum(parts))
    assert found.loc["b", "share"] == pytest.approx(parts[1] / sum(parts))
    assert found.loc["seed", "share"] == pytest.approx(0.0)
    assert list(found.index)[-1] == "seed"


def test_an_interaction_is_no_main_effect():
    keys = grid(a=[0, 1], b=[0, 1], seed=[0, 1, 2])
    y = pd.Series([float(a ^ b) for a, b, _ in keys.itertuples(index=False)])
    assert importance(keys, y)["share"].tolist() == pytest.approx([0, 0, 0])


def test_a_key_that_does_nothing_has_the_share_of_chance():
    """Mean of 400 simulations, 4 standard errors; a key of numbers is cut into four parts first."""
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        keys = pd.DataFrame({"a": np.arange(20) % 5, "lr": rng.random(20)}, dtype=object)
        found = importance(keys, pd.Series(rng.normal(size=20)))
        shares.append([found.loc["a", "share"], found.loc["lr", "share"]])
        assert found.loc["lr", "levels"] == 4
        assert found.loc["a", "chance"] == pytest.approx(4 / 19)
    spread = np.std(shares, axis=0) / 20
    assert np.all(np.abs(np.mean(shares, axis=0) - [4 / 19, 3 / 19]) < 4 * spread)


@pytest.mark.parametrize(
    "keys", [{"a": [1, 1, 1]}, {"a": ["x", "y", "z"]}], ids=["one value", "as many values as runs"]
)
def test_what_tells_nothing_has_no_share(keys):
    found = importance(pd.DataFrame(keys, dtype=object), pd.Series([1.0, 2.0, 4.0]))
    assert math.isnan(found.loc["a", "share"])


def test_no_runs_have_no_shares():
    assert importance(pd.DataFrame({"a": []}, dtype=object), pd.Series([], dtype=float))["share"].isna().all()


def test_the_front_holds_what_none_beats():
    """By the definition, for every pair, on points with ties."""
    rng = np.random.default_rng(0)
    for up in (True, False):
        y, c = rng.integers(0, 6, (2, 30)).astype(float)
        y[3] = math.nan
        front = pareto(y, c, up=up)
        sign = 1 if up else -1
        for i in range(30):
            beaten = any(
                sign * y[j] >= sign * y[i] and c[j] <= c[i] and (y[j] != y[i] or c[j] != c[i]) for j in range(30)
            )
            assert front[i] == (not beaten and math.isfinite(y[i]))


def test_standard_error():
    assert standard_error([1.0, 2.0, 3.0]) == pytest.approx(1 / math.sqrt(3))
    assert math.isnan(standard_error([1.0]))
