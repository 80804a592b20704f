"""Trials: jobs of one setting, what they come to, and which of them no other beats."""

import itertools
import math

import pytest

from ppl_vae.errors import UsageError
from ppl_vae.sweeps.sweep import Job
from ppl_vae.sweeps.trials import Trial, best, metrics_of, trials_of

ODD = (-1, 0, 1, 1.5, True, math.nan, "", "up", {"a": 1}, [1], [None], [["validation/elbo"]], [{}])


def job(number, state="finished", planned=True, **result):
    record = {"result": {k.replace("_", "/", 1): v for k, v in result.items()}}
    run = object() if state == "finished" else None
    return Job(number, state, None, run, (), (), {}, record, planned)


def test_a_trial_is_what_its_jobs_are():
    """By every pair of states, against the sentence that says it."""
    states = ("finished", "pruned", "running", "interrupted", "failed", "refused", "missing")
    for pair in itertools.product(states, repeat=2):
        state = Trial(0, tuple(job(n, s) for n, s in enumerate(pair))).state
        if set(pair) & {"running", "interrupted", "missing"}:
            assert state == "left"
        elif set(pair) & {"failed", "refused"}:
            assert state == "failed"
        else:
            assert state == ("pruned" if "pruned" in pair else "finished")


def test_jobs_of_a_trial_are_averaged_and_a_missing_figure_is_nan():
    trials = trials_of([job(n, validation_elbo=float(n)) for n in range(6)] + [job(6, planned=False)], 3)
    assert [t.value("validation/elbo") for t in trials] == [1.0, 4.0]
    assert math.isnan(trials[0].value("test/nll"))


def test_the_front_is_that_of_the_definition():
    """All 81 ways that two trials of two figures can lie to each other, in three places, with a third."""
    metrics = metrics_of(["validation/elbo", "test/nll"])
    for values in itertools.product(range(3), repeat=4):
        points = [(values[0], values[1]), (values[2], values[3]), (1, 1)]
        trials = [Trial(n, (job(n, validation_elbo=float(e), test_nll=float(x)),)) for n, (e, x) in enumerate(points)]
        expected = [
            n for n, (e, x) in enumerate(points) if not any(a >= e and b <= x and (a, b) != (e, x) for a, b in points)
        ]
        assert [t.number for t in best(trials, metrics)] == expected
    assert best([Trial(0, (job(0, "failed"),)), Trial(1, (job(1, validation_elbo=math.nan),))], metrics[:1]) == []


@pytest.mark.parametrize(
    ("name", "direction", "told"),
    [
        ("elbo", None, "validation/elbo"),
        (None, None, "got None"),
        ([], None, "got \\[\\]"),
        ("validation/elbo", "up", "expected one of: maximize, minimize"),
        ("validation/elbo", ["maximize", "minimize"], "got 2 for 1 metrics"),
        *((odd, None, "hydra.sweeper.metric: got") for odd in ODD),
        *(("validation/elbo", odd, "hydra.sweeper.direction: got") for odd in ODD),
    ],
)
def test_what_is_no_metric_is_refused(name, direction, told):
    with pytest.raises(UsageError, match=told):
        metrics_of(name, direction)


def test_the_way_that_is_better_is_known_and_may_be_told():
    assert [m.up for m in metrics_of(["validation/elbo", "test/nll", "seconds"])] == [True, False, False]
    assert [m.up for m in metrics_of("test/nll", "maximize")] == [True]
