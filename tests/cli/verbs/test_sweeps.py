"""`ppl-vae sweeps`: every sweep below a folder, with its date, its command, and how far its jobs have come."""

import json
from dataclasses import replace

import pytest

from ppl_vae.sweeps.plan import Plan, PlannedJob


@pytest.fixture
def listed(tmp_path):
    """Two sweeps, the newer one begun, in a folder of outputs beside a run."""
    jobs = tuple(PlannedJob(n, (f"seed={n}",)) for n in range(24))
    command = ("-m", "ppl_vae", "train", "-m", "seed=range(24)")
    plan = Plan(jobs=jobs, overrides=("seed=range(24)",), started="2026-11-26T10:00:00.000+00:00", command=command)
    new, old = tmp_path / "outputs" / "vae" / "new", tmp_path / "outputs" / "old"
    for folder in (new / "0", new / "1", old, tmp_path / "outputs" / "vae" / "run"):
        folder.mkdir(parents=True)
    plan.write(new)
    replace(plan, started="2026-11-20T10:00:00.000+00:00", complete=False, command=()).write(old)
    (new / "0" / "run.json").write_text(json.dumps({"status": "finished", "job": 0}))
    (new / "1" / "run.json").write_text(json.dumps({"status": "failed", "job": 1}))
    (tmp_path / "outputs" / "vae" / "run" / "run.json").write_text(json.dumps({"status": "finished"}))
    return tmp_path / "outputs"


def test_each_is_told_with_what_is_there_of_it(cli, listed):
    called = cli("sweeps")
    assert called.code == 0, called.err
    old, new = (line for line in called.out.splitlines() if "2026-11" in line)
    assert "old" in old
    assert "24 so far" in old
    assert "vae/new" in new
    assert "interrupted: 1 finished, 1 failed, 22 missing" in new
    assert "ppl-vae train -m 'seed=range(24)'" in new
    assert f"ppl-vae train -m resume={listed}/vae/new" in called.out


def test_programs_read_one_object(cli, listed):
    (found,) = cli("sweeps", "format=json").json
    old, new = found["sweeps"]
    assert old["state"] == "missing"
    assert (new["state"], new["jobs"], new["finished"], new["failed"], new["missing"]) == ("interrupted", 24, 1, 1, 22)
    assert new["sweep"] == str(listed / "vae" / "new")
    assert new["command"] == "ppl-vae train -m 'seed=range(24)'"
    assert new["started"] == "2026-11-26T10:00:00.000+00:00"


def test_a_damaged_plan_is_told_beside_the_others(cli, listed):
    (listed / "old" / "sweep.json").write_text("{")
    called = cli("sweeps")
    assert called.code == 0, called.err
    assert "cannot be read" in called.out
    assert "22 missing" in called.out


def test_no_sweeps_and_no_folder_say_what_to_do(cli, tmp_path):
    called = cli("sweeps")
    assert (called.code, called.left) == (1, [])
    assert "dir=DIR" in called.err
    (tmp_path / "outputs").mkdir()
    assert "ppl-vae train -m" in cli("sweeps").out
    assert "did you mean outputs" in cli("sweeps", "dir=output").err
