"""Studies on the disk: a trial depends on what is there alone, and what is torn is mended."""

import math
import random

import pytest

from ppl_vae.errors import UsageError
from ppl_vae.sweeps.compare import Metric
from ppl_vae.sweeps.space import Space
from ppl_vae.sweeps.study import SAMPLERS, Study
from ppl_vae.sweeps.trials import metrics_of

optuna = pytest.importorskip("optuna", minversion="5")

SPACE = Space.read(["lr=tag(log,interval(1e-5,1e-1))", "size=2,8,16", "depth=range(1,9,2)", "gap=range(0.1,1,0.2)"])
ELBO = (Metric("validation/elbo", True),)


def study(directory, **changes):
    search = {"storage": None, "study_name": "s", "sampler": "tpe", "seed": 0, "startup_trials": 2}
    directory.mkdir(exist_ok=True)
    made = Study(directory, search | {"warmup_epochs": 0, "pruner": "none"} | changes)
    made.create(ELBO, resumed=True)
    return made


def ask_and_tell(one):
    values = one.choose(SPACE)
    number = one.add(SPACE, values)
    one._study.tell(number, -abs(math.log(values["lr"]) + 5))
    return values


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_that_is_opened_anew_for_each_trial_asks_the_same(tmp_path, sampler):
    """A fixed seed of a sampler repeats its trials where it is made anew; here each trial has a seed of its own."""
    at_once = study(tmp_path / "once", sampler=sampler)
    expected = [ask_and_tell(at_once) for _ in range(7)]
    found = [ask_and_tell(study(tmp_path / "anew", sampler=sampler)) for _ in range(7)]
    assert found == expected
    assert len({v["lr"] for v in found}) == 7
    assert study(tmp_path / "anew").values(3) == found[3]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_trials_that_are_asked_at_once_differ(tmp_path, sampler):
    one = study(tmp_path, sampler=sampler)
    for _ in range(3):
        ask_and_tell(one)
    values = [one.choose(SPACE) for _ in range(4) if one.add(SPACE, one.choose(SPACE)) is not None]
    assert len({v["lr"] for v in values}) == 4
    assert one.running() == [3, 4, 5, 6]


def test_a_journal_that_was_torn_anywhere_is_read_and_written_on(tmp_path):
    """At a dozen bytes by chance: the trials whose lines are whole are there, and the next is asked."""
    one = study(tmp_path / "whole")
    for _ in range(3):
        ask_and_tell(one)
    content = (tmp_path / "whole" / "study.journal").read_bytes()
    head = content.index(b"\n", content.index(b"\n") + 1) + 1
    for at in sorted(random.Random(0).sample(range(head, len(content) + 1), 12)):
        torn = tmp_path / str(at)
        torn.mkdir()
        (torn / "study.journal").write_bytes(content[:at])
        again = study(torn)
        assert len(again) == content[: content[:at].rfind(b"\n") + 1].count(b'\n{"op_code":4')
        ask_and_tell(again)
        assert len(study(torn)) == len(again)


def test_a_storage_of_ones_own_may_hold_other_studies_and_none_of_this_name(tmp_path):
    path = tmp_path / "shared.journal"
    first = study(tmp_path / "a", storage=str(path), study_name="first")
    ask_and_tell(first)
    assert len(study(tmp_path / "b", storage=str(path), study_name="second")) == 0
    with pytest.raises(UsageError, match="holds a study first already"):
        Study(tmp_path, dict(first.search)).create(ELBO, resumed=False)
    with pytest.raises(UsageError, match=r"hydra\.sweeper\.storage"):
        study(tmp_path / "c", storage="nosuch://x")


def test_the_median_prunes_what_is_behind_and_says_so_again(tmp_path):
    one = study(tmp_path, pruner="median", startup_trials=1)
    number = one.add(SPACE, one.choose(SPACE))
    assert [one.report(number, step, 1.0 * step) for step in (1, 2, 3)] == [False] * 3
    one._study.tell(number, 3.0)
    behind = one.add(SPACE, one.choose(SPACE))
    assert not one.report(behind, 1, 1.5)
    assert one.report(behind, 3, 1.5)
    assert study(tmp_path, pruner="median", startup_trials=1).report(behind, 3, 1.5)  # whoever looks, and how often
    assert metrics_of("validation/elbo") == ELBO
