"""`Sweep`: every job of the plan has a state, whatever there is of it on the disk."""

import json

import pytest
from filelock import FileLock

import ppl_vae as pv
from ppl_vae.errors import ArgumentError, RunError
from ppl_vae.runs.recorder import LOCK
from ppl_vae.sweeps.plan import Plan, PlannedJob
from ppl_vae.sweeps.sweep import Sweep, find, sweeps


def run(path, status="finished", **more):
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps({"status": status, "started": "2026-11-20T00:00:00", **more}))


@pytest.fixture
def sweep(tmp_path):
    """A plan of six jobs, and no run."""
    folder = tmp_path / "outputs" / "a" / "sweep"
    folder.mkdir(parents=True)
    jobs = tuple(PlannedJob(n, (f"seed={n}", "model=vae"), {"model": "vae"}) for n in range(6))
    Plan(jobs=jobs, started="2026-11-26T00:00:00.000+00:00").write(folder)
    return folder


def test_each_job_has_its_state(sweep):
    run(sweep / "0", result={"validation/elbo": -3.0}, job=0)
    run(sweep / "1", "failed", error="no such thing", job=1)
    run(sweep / "2", "failed", error="lr", refused=True, job=2)
    run(sweep / "3", "running", job=3)
    run(sweep / "4", "running", job=4)
    with FileLock(sweep / "4" / LOCK):
        loaded = pv.Sweep.load(sweep)
        states = [job.state for job in loaded.jobs]
        assert states == ["finished", "failed", "refused", "interrupted", "running", "missing"]
        assert loaded.state == "running"
    assert loaded.state == "interrupted"
    assert loaded.counts == {"finished": 1, "interrupted": 2, "failed": 1, "refused": 1, "missing": 1}
    assert [job.title for job in loaded.jobs] == [f"seed={n}" for n in range(6)]
    assert loaded.jobs[0].result == {"validation/elbo": -3.0}
    assert [job.error for job in loaded.jobs[:3]] == [None, "no such thing", "lr"]
    assert loaded.jobs[5].directory == sweep / "5"
    assert loaded.jobs[5].values == {"seed": "5"}
    assert [r.directory.name for r in loaded.runs] == ["0", "1", "2", "3", "4"]


def test_the_whole_is_what_its_jobs_are(sweep):
    loaded = Sweep.load(sweep)
    assert loaded.state == "missing"
    run(sweep / "0", job=0)
    assert loaded.state == "interrupted"
    for number in range(1, 6):
        run(sweep / str(number), job=number)
    assert loaded.state == "finished"
    (sweep / "5" / "run.json").write_text('{"status": "failed"}')
    assert loaded.state == "failed"


def test_runs_lie_at_any_depth_where_the_plan_says_so(sweep):
    run(sweep / "2" / "x" / "a", job=0)
    run(sweep / "10" / "x" / "b", job=1)
    assert [job.state for job in Sweep.load(sweep).jobs[:3]] == ["finished", "finished", "missing"]
    assert [r.directory.parent.parent.name for r in Sweep.load(sweep).runs] == ["2", "10"]


def test_a_damaged_record_is_a_failed_job(sweep):
    run(sweep / "0", job=0)
    (sweep / "0" / "run.json").write_text("{")
    job = Sweep.load(sweep).jobs[0]
    assert job.state == "failed"
    assert "cannot be read" in job.error


def test_a_run_beside_the_plan_is_shown_as_such(sweep):
    run(sweep / "stray")
    stray = Sweep.load(sweep).jobs[-1]
    assert (stray.planned, stray.directory.name) == (False, "stray")


def test_a_folder_of_runs_without_a_plan_is_a_sweep_of_these(tmp_path):
    run(tmp_path / "old" / "0")
    run(tmp_path / "old" / "1", "interrupted")
    loaded = Sweep.load(tmp_path / "old")
    assert [(job.number, job.state) for job in loaded.jobs] == [(0, "finished"), (1, "interrupted")]
    assert not loaded.plan.complete


def test_latest_is_the_one_that_began_last_and_all_are_found(sweep, monkeypatch):
    other = sweep.parents[1] / "b"
    other.mkdir()
    Plan(started="2026-11-27T00:00:00.000+00:00").write(other)
    run(sweep.parent / "alone")
    assert [s.directory for s in sweeps(sweep.parents[1])] == [sweep, other]
    monkeypatch.chdir(sweep.parents[2])
    assert Sweep.load("latest").directory == other
    monkeypatch.chdir(sweep)
    with pytest.raises(RunError, match="ppl-vae train -m"):
        Sweep.load("latest")


def test_what_is_no_sweep_is_told_with_what_to_type(sweep, tmp_path):
    run(sweep / "4" / "x", job=0)
    for name, said in {
        sweep / "4" / "x": f"its sweep is sweep={sweep}",
        sweep.parent / "sweeep": "did you mean sweep",
        tmp_path: "no runs in this folder",
    }.items():
        with pytest.raises(RunError, match=said):
            find(name)
    with pytest.raises(ArgumentError, match="expected the path"):
        Sweep.load(3)
