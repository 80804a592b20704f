"""Searches: what is on the disk decides, so that one that is ended at any moment goes on to the same trials.

The laws:

- A sequential search that is killed at any operation on the disk, or at any time, and gone on with has the trials, the
  runs and the plan of the one that was never ended, bit for bit but for times.
- A run that halving goes on with equals the same run made alone, to the bit; one that is pruned equals its beginning.
"""

import json
import os
import random
import re
import shutil
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ppl_vae.__main__ import main
from ppl_vae.cli.search import KEYS
from ppl_vae.runs import recorder
from ppl_vae.runs.run import Run
from ppl_vae.sweeps.sweep import Sweep
from tests.cli.kept import gone, kept, untimed
from tests.cli.small import SMALL
from tests.runs.disk import Disk, Killed

optuna = pytest.importorskip("optuna", minversion="5")

QUICK = (*SMALL, "trainer.compile=off", "hydra.sweep.dir=sweep", "-m")
LR = "optimizer.lr=tag(log, interval(1e-4, 1e-1))"
SEARCH = (
    *QUICK, LR, "seed=0,1", "trainer.epochs=3", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3",
    "hydra.sweeper.startup_trials=1", "hydra.sweeper.pruner=median", "hydra.sweeper.warmup_epochs=0",
    "hydra.sweeper.seed=3",  # of which the second trial is behind the first
)  # fmt: skip
SMALLEST = (*SEARCH, "seed=0", "hydra.sweeper.n_trials=2", "trainer.epochs=2")
HALVING = (*QUICK, LR, "hydra/sweeper=halving", "hydra.sweeper.n=3", "trainer.epochs=3")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No subprocesses for facts that are not looked at."""
    monkeypatch.setattr(recorder, "_git", dict)


def trials(directory):
    """The trials of a study, without times."""
    backend = optuna.storages.journal.JournalFileBackend(str(directory / "study.journal"))
    study = optuna.load_study(study_name=directory.name, storage=optuna.storages.JournalStorage(backend))
    return [(t.number, t.state.name, t.params, t.values, t.intermediate_values) for t in study.trials]


def left(directory):
    """The files of a search, and its trials in place of its journal."""
    found = {name: content for name, content in kept(directory).items() if "journal" not in name}
    return found | ({"trials": trials(directory)} if (directory / "study.journal").exists() else {})


def made_whole(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch, Disk(folder / "sweep")() as disk:
        patch.setattr(recorder, "_git", dict)
        patch.chdir(folder)
        assert main(["train", *words]) == 0
    return folder / "sweep", left(folder / "sweep"), disk.log


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search that is never ended: its folder, what is in it, and the operations on the disk that it makes."""
    return made_whole(tmp_path_factory, SEARCH)


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    """The same by halving."""
    return made_whole(tmp_path_factory, HALVING)


def assert_goes_on(cli, folder, words, whole, where):
    called = cli("train", "-m", "resume=sweep")
    if not (folder / "sweep" / "sweep.json").exists():
        called = cli("train", *words)
    assert called.code == 0, (where, called.err)
    found = left(folder / "sweep")
    assert found.keys() == whole.keys(), where
    for name in whole:
        assert found[name] == whole[name], (where, name)


def killed_and_gone_on(cli, tmp_path, words, whole, log, places):
    for at in places:
        folder = tmp_path / str(at)
        folder.mkdir()
        os.chdir(folder)
        with Disk(folder / "sweep", at)() as disk, pytest.raises(Killed):
            main(["train", *words])
        assert disk.fired
        assert_goes_on(cli, folder, words, whole, f"killed at operation {at}, {log[at]}")


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_to_the_same_trials(cli, tmp_path_factory, tmp_path):
    _, whole, log = made_whole(tmp_path_factory, SMALLEST)
    assert len({str(params) for _, _, params, _, _ in whole["trials"]}) == 2
    asked = [i for i, (_, path) in enumerate(log) if "journal" in path]
    killed_and_gone_on(cli, tmp_path, SMALLEST, whole, log, asked[len(asked) // 2 :][:1])


@pytest.mark.slow
def test_a_search_that_is_killed_at_many_operations(cli, searched, tmp_path):
    """Some by chance, and some lines of the journal: before a trial is asked, reports, is told."""
    _, whole, log = searched
    journal = [i for i, (_, path) in enumerate(log) if "journal" in path]
    places = {*random.Random(0).sample(range(len(log) - 3), 1), *random.Random(1).sample(journal, 2)}
    killed_and_gone_on(cli, tmp_path, SEARCH, whole, log, sorted(places))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_search_that_is_killed_at_any_time(cli, searched, tmp_path):
    """`kill -9` twice at times by chance."""
    _, whole, _ = searched
    times = random.Random(2)
    for case in range(1):
        folder = tmp_path / str(case)
        folder.mkdir()
        os.chdir(folder)
        spans = [times.uniform(0.3, 4), times.uniform(0.3, 4)]
        gone(SEARCH, spans[0])
        there = (folder / "sweep" / "sweep.json").exists()
        gone(("-m", "resume=sweep") if there else SEARCH, spans[1])
        assert_goes_on(cli, folder, SEARCH, whole, f"killed after {spans}")


@pytest.mark.slow
def test_a_search_that_gets_more_trials_has_those_of_one_that_had_them_at_once(cli, tmp_path):
    words = (*QUICK[:-2], "trainer.epochs=1", "-m", LR, "model.latent_dim=1,2", "hydra/sweeper=optuna")
    words = (*words, "hydra.sweeper.startup_trials=1")
    assert cli("train", *words, "hydra.sweeper.n_trials=3", "hydra.sweep.dir=once").code == 0
    assert cli("train", *words, "hydra.sweeper.n_trials=1", "hydra.sweep.dir=more").code == 0
    assert cli("train", "-m", "resume=more", "hydra.sweeper.n_trials=3").code == 0
    assert trials(tmp_path / "more") == trials(tmp_path / "once")
    assert len({str(t[2]) for t in trials(tmp_path / "once")}) == 3
    assert Sweep.load("more").counts == {"finished": 3}
    refused = cli("train", "-m", "resume=more", "trainer.epochs=3")
    assert refused.code == 2
    assert "hydra.sweeper.n_trials" in refused.err


def rows(directory):
    return [untimed(json.loads(line)) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def alone(cli, job, name):
    called = cli("train", *job.overrides, f"hydra.run.dir={name}")
    assert called.code == 0, called.err
    return called.folder / name


def test_a_run_that_halving_goes_on_with_equals_the_run_alone(cli, halved):
    """To the bit: weights, all state, metrics, evaluation; of a pruned one the epochs it has."""
    directory, _, _ = halved
    jobs = Sweep(directory).jobs
    assert sorted(len(rows(job.directory)) for job in jobs) == [1, 1, 3]
    assert sorted(job.state for job in jobs) == ["finished", "pruned", "pruned"]
    scores = {job.number: rows(job.directory)[0]["validation/elbo"] for job in jobs}
    (survivor,) = [job for job in jobs if job.state == "finished"]
    assert survivor.number == max(scores, key=scores.get)
    same = alone(cli, survivor, "alone")
    assert rows(same) == rows(survivor.directory)
    for name in ("model.safetensors", "checkpoints/last.safetensors", "evaluation/test/table.csv"):
        assert (same / name).read_bytes() == (survivor.directory / name).read_bytes(), name
    assert Run(same).result == survivor.result


@pytest.mark.slow
def test_a_halving_that_is_killed_goes_on_to_the_same_end(cli, halved, tmp_path):
    _, whole, log = halved
    shown = next(i for i, (_, path) in enumerate(log) if path == "/0/metrics.jsonl")
    save = next(i for i, (_, path) in enumerate(log) if path.startswith("/0/checkpoints/") and i > shown)
    # at a rung, whose epoch is shown and not saved; at the last operation of all
    places = [save, *random.Random(3).sample(range(len(log) - 3), 1), len(log) - 1]
    killed_and_gone_on(cli, tmp_path, HALVING, whole, log, places)


def test_a_halving_that_is_done_keeps_its_plan_when_it_is_gone_on_with(cli, halved, tmp_path):
    directory = shutil.copytree(halved[0], tmp_path / "done")
    before = json.loads((directory / "sweep.json").read_text())
    called = cli("train", "-m", f"resume={directory}")
    assert called.code == 0, called.err
    after = json.loads((directory / "sweep.json").read_text())
    assert before["search"]["until"] == 3
    assert after["search"] == before["search"]
    assert len(after["resumed"]) == 1


@pytest.mark.slow
def test_schedules_and_early_stopping_know_the_whole_length(cli, tmp_path):
    """A learning rate that falls over all epochs, seeds that are averaged, a grid in place of draws."""
    words = (*QUICK, "optimizer.lr=1e-3,3e-2", "seed=0,1", "hydra/sweeper=halving", "hydra.sweeper.eta=2")
    called = cli("train", *words, "scheduler=cosine", "trainer.epochs=4", "trainer.early_stopping=3")
    assert called.code == 0, called.err
    jobs = Sweep.load("sweep").jobs
    ended = [job for job in jobs if job.state == "finished"]
    assert len(ended) == 2
    assert ended[0].number % 2 == 0
    assert ended[1].number == ended[0].number + 1
    for job in ended:
        same = alone(cli, job, f"alone{job.number}")
        assert rows(same) == rows(job.directory)
        assert (same / "model.safetensors").read_bytes() == (job.directory / "model.safetensors").read_bytes()
    assert "best of 2 trials" in called.out


@pytest.mark.slow
def test_a_pruned_run_is_the_beginning_of_the_run_alone(cli, searched):
    directory, _, _ = searched
    jobs = Sweep(directory).jobs
    pruned = [job for job in jobs if job.state == "pruned"]
    one = next(job for job in pruned if (job.directory / "metrics.jsonl").exists())
    mine = rows(one.directory)
    assert 0 < len(mine) < 3
    same = alone(cli, one, "alone")
    assert mine == rows(same)[: len(mine)]
    assert not (one.directory / "evaluation").exists()
    assert one.result["epochs"] == len(mine)
    assert Run(one.directory).vae is not None  # its weights are kept
    assert Sweep(directory).state == "finished"
    others = [job for job in jobs if job.number // 2 == one.number // 2 and job.number > one.number]
    assert all(job.state == "pruned" and not (job.directory / "metrics.jsonl").exists() for job in others)


@pytest.mark.slow
def test_a_pruned_run_is_left_as_it_is_unless_it_is_gone_on_with_alone(cli, searched, tmp_path):
    shutil.copytree(searched[0], tmp_path / "sweep")
    assert cli("train", "-m", "resume=sweep").code == 0
    jobs = Sweep.load("sweep").jobs
    assert {job.state for job in jobs} == {"finished", "pruned"}
    one = next(job for job in jobs if job.state == "pruned" and (job.directory / "metrics.jsonl").exists())
    assert cli("train", f"resume=sweep/{one.number}").code == 0
    same = alone(cli, one, "alone")
    assert rows(same) == rows(one.directory)
    assert Run(one.directory).status == "finished"
    assert cli("compare", "sweep=sweep").code == 0  # a pruned job that never began is there, too
    (tmp_path / "sweep" / "study.journal").unlink()
    called = cli("train", "-m", "resume=sweep")
    assert called.code == 1
    assert "its study is not there" in called.err


@pytest.mark.slow
def test_a_trial_is_the_mean_over_its_seeds(searched):
    directory, whole, _ = searched
    jobs = Sweep(directory).jobs
    complete = [t for t in whole["trials"] if t[1] == "COMPLETE"]
    assert complete
    for number, _, params, values, reported in complete:
        mine = jobs[2 * number : 2 * number + 2]
        assert all(job.values["optimizer.lr"] == repr(params["optimizer.lr"]) for job in mine)
        elbos = [job.result["validation/elbo"] for job in mine]
        assert values == [pytest.approx(sum(elbos) / 2, abs=1e-12)]
        first, second = ([row["validation/elbo"] for row in rows(job.directory)] for job in mine)
        expected = {1: first[0], 2: first[1], 4: (first[0] + second[0]) / 2, 5: (first[1] + second[1]) / 2}
        assert reported == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_several_metrics_make_a_front(cli, tmp_path):
    called = cli(
        "train", *QUICK, LR, "model.latent_dim=1,2", "trainer.epochs=1", "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2", "hydra.sweeper.metric=[validation/elbo,test/nll]",
    )  # fmt: skip
    assert called.code == 0, called.err
    found = trials(tmp_path / "sweep")
    front = {t[0] for t in found if not any(o[3][0] >= t[3][0] and o[3][1] <= t[3][1] and o[3] != t[3] for o in found)}
    assert {int(line.rpartition("/")[2]) for line in called.out.splitlines() if line.startswith("best of 3")} == front
    (compared,) = cli("compare", "sweep=sweep", "format=json").json
    assert len(compared["groups"]) == 3


@pytest.mark.slow
def test_a_trial_fails_if_a_seed_of_it_does_and_the_search_goes_on(cli, tmp_path):
    called = cli(
        "train", *QUICK, "optimizer.lr=-1.0,1e-2", "seed=0,1", "trainer.epochs=1", "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=2", "hydra.sweeper.sampler=random", "hydra.sweeper.seed=1",
    )  # fmt: skip
    found = trials(tmp_path / "sweep")
    assert {t[1] for t in found} == {"FAIL", "COMPLETE"}
    assert all((t[1] == "FAIL") == (t[2]["optimizer.lr"] == "-1.0") for t in found)
    assert called.code == 1
    assert len(Sweep.load("sweep").jobs) == 4


@pytest.mark.slow
@pytest.mark.parametrize("words", [SEARCH, HALVING], ids=["optuna", "halving"])
def test_runs_that_are_trained_together_are_ended_one_by_one(cli, tmp_path, words):
    batch = ("hydra.sweeper.n_jobs=2",) if "hydra/sweeper=optuna" in words else ()
    called = cli("train", *words, *batch, "hydra/launcher=batched")
    assert called.code == 0, called.err
    assert "as one program" in called.err
    jobs = Sweep.load("sweep").jobs
    assert {job.state for job in jobs} <= {"finished", "pruned"}
    one = next(job for job in jobs if job.state == "finished")
    tensors, expected = (
        load_file(one.directory / "model.safetensors"),
        load_file(alone(cli, one, "alone") / "model.safetensors"),
    )
    assert all(torch.allclose(tensors[k], expected[k], atol=2e-3) for k in tensors)  # to rounding, see test_batched


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["hydra.sweeper.pruner=medain"], "did you mean median"),
        (["+hydra.sweeper.n_trails=3"], "did you mean n_trials"),
        (["hydra.sweeper.direction=up"], "expected one of: maximize, minimize"),
        (["hydra.sweeper.metric=[validation/elbo,seconds]", "hydra.sweeper.pruner=median"], "a pruner looks at"),
        (["optimizer.lr=1e-3"], "no key to search"),
        (["seed=range(0,3)"], "expected choices"),
        (["model.latnt_dim=1,2"], "latnt_dim"),
        (["hydra.sweeper.storage=nosuch://x"], "hydra.sweeper.storage"),
        (["hydra/sweeper=halving"], "no grid"),
        (["hydra/sweeper=halving", "trainer.epochs=3,9"], "trainer.epochs is searched"),
        (["hydra/sweeper=halving", "hydra.sweeper.eta=1"], "at least 2"),
        (["hydra/sweeper=halving", "hydra.sweeper.n=2", "trainer.steps=3"], "trainer.steps"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_trained(cli, tmp_path, typed, told):
    called = cli("train", *QUICK, LR, "hydra/sweeper=optuna", *typed)
    assert called.code == 2, called.err
    assert told in called.err
    assert "Traceback" not in called.err
    assert not list(tmp_path.rglob("run.json"))


def test_without_optuna_it_is_said_what_to_install(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    called = cli("train", *SEARCH)
    assert called.code == 2
    assert "pip install 'ppl-vae[sweeps]'" in called.err
    assert called.left == []


@pytest.mark.parametrize(("name", "title"), [("optuna", "## Search by Optuna"), ("halving", "## Successive halving")])
def test_the_page_the_config_and_the_sweeper_have_the_same_keys(repository, name, title):
    config = yaml.safe_load((repository / "conf/hydra/sweeper" / f"{name}.yaml").read_text())
    _, allowed = KEYS[config.pop("_target_")]
    page = (repository / "docs/sweeps-search.md").read_text()
    table = page[page.index(title) :].partition("| key of `hydra.sweeper` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(allowed) == set(config)
