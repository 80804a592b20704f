"""`train -m resume=SWEEP`: what is finished is kept, the plan is that of the sweep, whatever launches the jobs."""

import io
import json
import os
import re
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from ppl_vae.__main__ import main
from ppl_vae.runs.recorder import LOCK, read_record
from ppl_vae.runs.run import Run
from ppl_vae.sweeps.plan import Plan, PlannedJob
from ppl_vae.sweeps.sweep import Sweep
from tests.cli.small import SMALL

QUICK = (*(w for w in SMALL if "epochs" not in w), "trainer.epochs=1", "trainer.compile=off")


def times(sweep):
    return {p.parent.name: p.stat().st_mtime_ns for p in Path(sweep).glob("*/run.json")}


def missing(sweep, number):
    for path in sorted(Path(sweep, str(number)).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A sweep of two jobs that is finished, and what was said of it."""
    folder = tmp_path_factory.mktemp("first")
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        assert main(["train", *QUICK, "-m", "seed=0,1", "hydra.sweep.dir=sweep"]) == 0
    return folder / "sweep", out.getvalue(), err.getvalue()


@pytest.fixture
def swept(first, tmp_path):
    """A copy of it, whose second job is not there."""
    shutil.copytree(first[0], tmp_path / "sweep")
    missing(tmp_path / "sweep", 1)
    replace(Plan.read(first[0]), started_in=str(tmp_path)).write(tmp_path / "sweep")
    return tmp_path / "sweep"


def test_the_plan_and_each_job_say_what_they_were_told(first, train):
    folder, out, err = first
    plan = Plan.read(folder)
    assert plan.varying == ("seed",)
    assert plan.started_in == str(folder.parent)
    assert plan.versions["torch"]
    assert re.search("Job 1 of 2, seed=0\n.*Job 2 of 2, seed=1, [0-9]+ (s|min) left\n", err, re.DOTALL)
    assert "2 finished" in out
    assert f"ppl-vae compare sweep={folder}" in out
    assert "resume=" not in out
    record = Run.load(folder / "1").record
    assert record["job"] == 1
    assert "seed=1" in record["overrides"]
    assert record["choices"]["model"] == "vae"
    assert not [group for group in record["choices"] if "hydra" in group]
    assert train("hydra.run.dir=alone").code == 0
    alone = Run.load("alone").record
    assert "trainer.epochs=2" in alone["overrides"]
    assert alone["choices"] == record["choices"]
    assert "job" not in alone


def test_what_is_missing_is_run_and_what_is_finished_is_kept(swept, cli):
    before = times(swept)
    called = cli("train", "-m", "resume=sweep", "format=json")
    assert called.code == 0, called.err
    assert [(r["job"], r["status"]) for r in called.json] == [(0, "finished"), (1, "finished")]
    assert called.json[0]["validation/elbo"] == Run.load("sweep/0").result["validation/elbo"]
    assert "Job 1 of 2, seed=0: finished already" in called.err
    assert times(swept)["0"] == before["0"]
    assert "format" not in (swept / "sweep.json").read_text()
    assert Sweep.load("sweep").counts == {"finished": 2}


REFUSED = {
    "another value": (["seed=0,1"], "seed: got 0,1, and the plan of .* says seed=0,1,2"),
    "another key": (["optimizer.lr=1"], "optimizer.lr: got 1, and the plan of .* says no optimizer.lr"),
    "another group": (["model=vamp"], "model: got vamp"),
    "another folder": (["hydra.sweep.dir=x"], "hydra.sweep.dir: got x"),
    "no number": (["trainer.epochs=a"], "expected an integer"),
}


@pytest.fixture
def planned(tmp_path):
    """The plan of a sweep of which no job has begun."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    jobs = tuple(PlannedJob(n, (*QUICK, f"seed={n}")) for n in range(3))
    Plan(jobs=jobs, overrides=(*QUICK, "seed=0,1,2"), started_in=str(tmp_path)).write(folder)
    return folder


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_another_plan_is_refused_with_the_difference(cli, planned, words, said):
    called = cli("train", "-m", "resume=sweep", *words)
    assert called.code == 2
    assert re.search(said, called.err)
    assert [p.name for p in planned.iterdir()] == ["sweep.json"]


def test_a_key_that_is_swept_over_does_not_change(cli, planned):
    jobs = tuple(PlannedJob(n, (*QUICK, f"trainer.epochs={n}")) for n in range(2))
    Plan(jobs=jobs, overrides=(*QUICK, "trainer.epochs=0,1")).write(planned)
    called = cli("train", "-m", "resume=sweep", "trainer.epochs=3")
    assert called.code == 2
    assert "trainer.epochs=0,1" in called.err


def test_what_cannot_be_gone_on_with_is_told(cli, planned):
    assert "ppl-vae train -m resume=" in cli("train", "resume=sweep").err
    Plan(jobs=(PlannedJob(0, ()),), verb="gradients").write(planned)
    assert "a sweep of ppl-vae gradients" in cli("train", "-m", "resume=sweep").err
    (planned / "sweep.json").write_text("{")
    assert "sweep.json that cannot be read" in cli("train", "-m", "resume=sweep").err
    (planned / "sweep.json").unlink()
    (planned / "multirun.yaml").write_text("hydra: ")
    called = cli("train", "-m", "resume=sweep")
    assert "no plan of a sweep is there" in called.err
    assert called.code == 1


def test_a_used_folder_takes_no_other_sweep_in(cli, planned):
    before = (planned / "sweep.json").read_text()
    called = cli("train", *QUICK, "-m", "seed=3,4", "hydra.sweep.dir=sweep")
    assert called.code == 1
    assert "a sweep of 3 jobs (3 missing)" in called.err
    assert "ppl-vae train -m resume=" in called.err
    assert "hydra.sweep.dir" in called.err
    (planned / "sweep.json").rename(planned / "0")
    assert [p.read_text() for p in planned.iterdir()] == [before]
    (planned / "run.json").write_text("{}")
    assert "holds a run already" in cli("train", *QUICK, "-m", "seed=3,4", "hydra.sweep.dir=sweep").err


def test_epochs_may_grow_from_anywhere_and_the_plan_keeps_them(cli, swept, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    called = cli("train", "-m", f"resume={tmp_path}/sweep", "trainer.epochs=2")
    assert called.code == 0, called.err
    assert Path.cwd() == tmp_path / "elsewhere"
    assert list(Path.cwd().iterdir()) == []
    monkeypatch.chdir(tmp_path)
    assert [run.result["epochs"] for run in Sweep.load("sweep").runs] == [2, 2]
    assert "trainer.epochs=2" in Plan.read(Path("sweep")).jobs[0].overrides
    assert len(Plan.read(Path("sweep")).resumed) == 1
    assert "trainer.epochs=2" in Run.load("sweep/0").record["overrides"]


def test_a_refused_job_keeps_what_it_was_and_may_be_run_again(cli, tmp_path):
    """One that its config refuses, one that its data refuse; once these are there, the sweep is finished."""
    words = ("dataset=npz", "dataset.path=x.npz", *SMALL[3:], "-m", "+trainer.nonsense=1,2", "hydra.sweep.dir=sweep")
    called = cli("train", *words)
    assert called.code == 2
    assert "job 1 (+trainer.nonsense=2)" in called.err
    assert [job.state for job in Sweep.load("sweep").jobs] == ["refused", "refused"]
    assert "trainer.nonsense" in Run.load("sweep/1").record["error"]
    called = cli("train", *words[:-2], "seed=0,1", "hydra.sweep.dir=other")
    assert called.code == 1
    record = Run.load("other/1").record
    assert (record["refused"], record["job"], record["exit_code"]) == (True, 1, 1)
    assert "seed=1" in record["overrides"]
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(60, 3)).astype("float32"))
    assert cli("train", "-m", "resume=other").code == 0
    record = Run.load("other/1").record
    assert record["status"] == "finished"
    assert not {"refused", "exit_code", "error"} & record.keys()


def test_folders_of_two_levels_are_found_even_where_a_change_renames_them(cli):
    subdir = "${hydra.job.override_dirname}/${hydra.job.num}"
    kept = [w.split("=")[0] for w in QUICK if "epochs" not in w]
    exclude = f"hydra.job.config.override_dirname.exclude_keys=[{','.join(kept)}]"
    called = cli("train", *QUICK, "-m", "seed=0,1", "hydra.sweep.dir=sweep", f"hydra.sweep.subdir={subdir}", exclude)
    assert called.code == 0, called.err
    first, second = (run.directory for run in Sweep.load("sweep").runs)
    assert first.relative_to(Path.cwd()) == Path("sweep/seed=0,trainer.epochs=1/0")
    (record,) = cli("compare", "sweep=sweep", "format=json").json
    assert len(record["runs"]) == 2
    assert "a sweep of 2 jobs, 2 finished" in cli("evaluate", "run=sweep").err
    shutil.rmtree(second.parent)
    called = cli("train", "-m", "resume=sweep", "trainer.epochs=2")
    assert called.code == 0, called.err
    assert [(job.state, job.result["epochs"]) for job in Sweep.load("sweep").jobs] == [("finished", 2)] * 2
    folders = sorted(p.name for p in Path("sweep").iterdir() if p.is_dir())
    assert folders == ["seed=0,trainer.epochs=1", "seed=1,trainer.epochs=2"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_failures_in_other_processes_are_told_and_the_rest_goes_on(cli, forks):
    words = (*QUICK, "-m", "seed=0,1", "optimizer.lr=1e-2,-1", "hydra.sweep.dir=sweep", forks)
    called = cli("train", *words)
    assert called.code == 1
    assert "2 of 4 failed" in called.err
    assert "2 finished, 2 refused" in called.out
    missing("sweep", 2)
    called = cli("train", "-m", "resume=sweep")
    assert "2 of 4 failed" in called.err
    assert Sweep.load("sweep").counts == {"finished": 2, "refused": 2}


def test_usage_errors_in_other_processes_are_usage_errors(cli, forks):
    called = cli("train", *QUICK, "-m", "+trainer.nonsense=1,2", "hydra.sweep.dir=sweep", forks)
    assert called.code == 2
    assert "2 of 2 failed" in called.err


def test_a_job_that_another_process_trains_is_left_to_it(cli, planned):
    (planned / "1").mkdir()
    with FileLock(planned / "1" / LOCK):
        called = cli("train", "-m", "resume=sweep")
        assert re.search("Job 2 of 3, seed=1.*: another process trains it", called.err)
        assert called.code == 0
        assert "2 finished, 1 running" in called.out


def test_a_sweep_of_before_there_were_plans_goes_on(cli, swept):
    (swept / "sweep.json").unlink()
    record = read_record(swept / "0")
    told = {k: v for k, v in record.items() if k not in ("overrides", "choices")}
    (swept / "0" / "run.json").write_text(json.dumps(told))
    assert [job.state for job in Sweep.load("sweep").jobs] == ["finished", "missing"]
    called = cli("train", "-m", "resume=sweep")  # a note of Hydra's bears no seal: it may be anybody's
    assert called.code == 1
    assert "multirun.yaml" in called.err
    assert "trust=true" in called.err
    called = cli("train", "-m", "resume=sweep", "trust=true")
    assert called.code == 0, called.err
    assert Sweep.load("sweep").counts == {"finished": 2}


def test_several_processes_for_one_training_are_refused(cli, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    called = cli("train", *QUICK)
    assert called.code == 1
    assert "WORLD_SIZE=2" in called.err
    assert "hydra/launcher=joblib" in called.err
    assert called.left == []
    assert cli("train", "--cfg", "job").code == 0
