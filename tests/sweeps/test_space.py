"""Spaces of searches: what Hydra's grammar says, and draws of it."""

import math

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ppl_vae.errors import UsageError
from ppl_vae.sweeps.plan import _product
from ppl_vae.sweeps.space import Space


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("a=tag(exp,interval(1,2))", "got the tag exp"),
        ("a=tag(log,choice(1,2))", "got the tag log"),
        ("a=tag(log,interval(0,2))", "above 0"),
        ("a=tag(log,range(0,3))", "no whole numbers from 1 on"),
        ("a=tag(log,range(1,9,2))", "no whole numbers from 1 on"),
        ("a=interval(2,1)", "low to high"),
        ("a=range(2,2)", "nothing"),
        ("a=3", "no key to search"),
        ("seed=0,1", "averaged over seed"),
        ("seed=range(0,3)", "expected choices"),
    ],
)
def test_what_is_no_space_is_refused(typed, told):
    with pytest.raises(UsageError, match=told):
        Space.read([typed])


def test_the_grid_has_the_jobs_of_hydras_own_sweeper():
    """Generated from all discrete forms: the same jobs, with the seeds of each setting beside each other."""
    words = ["model=vae", "+b.c=range(1,8,3)", "d=[1,2],[3]", "e='x,y',z", "f=range(0.1,0.45,0.1)", "seed=3,4", "~g"]
    space = Space.read(words)
    jobs = [job for values in space.grid() for job in space.jobs(values)]
    assert space.seeds == 2
    assert len({job[:5] for job in jobs}) == len(jobs) / 2

    def read(jobs):
        parser = OverridesParser.create()
        told = [[(o.key_or_group, o.value()) for o in parser.parse_overrides(list(job))] for job in jobs]
        return {repr([(k, round(v, 12) if isinstance(v, float) else v) for k, v in job]) for job in told}

    assert read(jobs) == read([[o for o in job if o[0] != "~"] + ["~g"] for job in _product(words, None)])


def test_the_last_of_a_key_counts_and_averaging_is_a_choice():
    space = Space.read(["a=1,2", "a=3,4,5", "seed=0,1"], averaged=())
    assert [d.choices for d in space.searched] == [("3", "4", "5"), ("0", "1")]
    assert space.seeds == 1
    assert Space.read(["a=1,2", "seed=0,1", "b=2,3"], averaged=("seed", "b")).seeds == 4


@pytest.mark.parametrize(
    "typed",
    ["a=interval(-1,2)", "a=tag(log,interval(1e-5,1e-1))", "a=int(interval(1,9))", "a=tag(log,int(interval(1,9)))",
     "a=range(2,11,3)", "a=range(0.5,2,0.25)", "a=x,y,z", "a=tag(log,range(1,65))", "a=range(9,1,-2)"],
)  # fmt: skip
def test_draws_lie_in_the_space_and_are_uniform_in_it(typed):
    """20,000 draws a space. Where the law says uniform (of a value or of its logarithm), the mean lies within 5
    standard errors of the exact one: a false alarm in 2 million.
    """
    (d,) = Space.read([typed]).searched
    n = 20_000
    drawn = [d.at(u) for u in np.random.default_rng(0).random(n)]
    assert d.at(0.0) in (drawn[0], d.told(d.low) if not d.choices else d.choices[0])
    if d.choices:
        counts = [drawn.count(c) for c in d.choices]
        p = 1 / len(d.choices)
        assert all(abs(c - n * p) < 5 * math.sqrt(n * p * (1 - p)) for c in counts)
        return
    assert d.low <= min(drawn)
    assert max(drawn) <= d.high
    assert all(float(d.text(v)) == pytest.approx(v, abs=1e-12) for v in drawn[:100])
    if d.step is not None:
        assert set(map(d.text, drawn)) == set(d.values)
        if d.log:  # each whole number k has the share log((k + ½) / (k - ½))
            whole = math.log((d.high + 0.5) / (d.low - 0.5))
            p = math.log((d.low + 0.5) / (d.low - 0.5)) / whole
            assert abs(drawn.count(d.low) - n * p) < 5 * math.sqrt(n * p * (1 - p))
        else:
            values = [float(v) for v in d.values]
            assert abs(np.mean(drawn) - np.mean(values)) < 5 * np.std(values) / math.sqrt(n)
        return
    of = math.log if d.log else float
    low, high = of(d.low), of(d.high)
    assert abs(np.mean([of(v) for v in drawn]) - (low + high) / 2) < 5 * (high - low) / math.sqrt(12 * n)
