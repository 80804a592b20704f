"""Real launchers of processes: joblib, submitit's executor for one machine, a Ray of this machine.

The law: each run is that of the basic launcher to the bit, whatever launches it; a job that fails stops no other and is
counted; what was ended goes on to the same end.
"""

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppl_vae.__main__ import main
from ppl_vae.sweeps.sweep import Sweep
from tests.cli.small import SMALL
from tests.cli.test_killed_sweep import kept

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals and processes of POSIX")]

QUICK = (*SMALL, "trainer.compile=off", "engine.threads=1")
PACKAGES = {"joblib": "hydra_joblib_launcher", "submitit_local": "hydra_submitit_launcher", "ray": "hydra_ray_launcher"}


def launcher(name):
    """Words that choose it; skips where its plugin is not installed."""
    if (
        importlib.util.find_spec("hydra_plugins") is None
        or importlib.util.find_spec(f"hydra_plugins.{PACKAGES[name]}") is None
    ):
        pytest.skip(f"{PACKAGES[name]} is not installed")
    return (f"hydra/launcher={name}", *(("hydra.launcher.ray.init.num_cpus=2",) if name == "ray" else ()))


def shell(folder, *words):
    """The command in a process of its own, which as a shell would knows of no threads; its process group is its own."""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS") and not k.startswith("RAY_")}
    environment |= {"PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(
        [sys.executable, "-m", "ppl_vae", "train", *words],
        cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def done(process, seconds=300):
    """Both streams of a process, which is ended with all of its group where it does not end."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return out, err


def same(folder):
    """The files of a sweep as far as they hold no time, path or launcher of it."""
    found = {}
    for name, content in kept(folder).items():
        if not name.startswith("."):
            text = json.dumps(content) if isinstance(content, (dict, list)) else content
            found[name] = text.replace(str(folder), "HERE") if isinstance(text, str) else text
    plan = json.loads(found.pop("sweep.json"))
    return found | {"jobs": [job["overrides"] for job in plan["jobs"]]}


def objects(out, folder):
    return sorted((json.loads(line) for line in out.replace(str(folder), "HERE").splitlines()), key=lambda r: r["job"])


def sweep_of(name):
    """Three jobs, of which one fails, at a place by chance."""
    rates = ["1e-2", "3e-3"]
    rates.insert(random.Random(name).randrange(3), "-1")
    return (*QUICK, "-m", f"optimizer.lr={','.join(rates)}", "format=json", "hydra.sweep.dir=sweep")


@pytest.mark.parametrize("name", PACKAGES)
def test_runs_are_those_of_the_basic_launcher(tmp_path, monkeypatch, capsys, name):
    chosen = launcher(name)
    for folder in ("basic", name):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "basic")
    assert main(["train", *sweep_of(name)]) == 1
    expected, told = same(tmp_path / "basic" / "sweep"), capsys.readouterr().out
    sweep = tmp_path / name / "sweep"

    process = shell(tmp_path / name, *sweep_of(name), *chosen)
    out, err = done(process)
    assert process.returncode == 1, err
    assert "1 of 3 failed" in err
    assert same(sweep) == expected
    assert objects(out, sweep) == objects(told, tmp_path / "basic" / "sweep")
    assert {p.name for p in sweep.iterdir()} - {".submitit"} == {"0", "1", "2", "multirun.yaml", "sweep.json"}

    lost = next(job for job in Sweep.load(sweep).jobs if job.state == "finished")
    shutil.rmtree(lost.directory)
    again = ("-m", f"resume={sweep}", "format=table", *chosen)
    process = shell(tmp_path / name, *again)
    out, err = done(process)
    assert process.returncode == 1, err
    assert "2 finished, 1 refused" in out
    assert "validation ELBO" in out
    assert same(sweep)["jobs"] == expected["jobs"]
    for file in (f"{lost.number}/model.safetensors", f"{lost.number}/metrics.jsonl"):
        assert same(sweep)[file] == expected[file]


LONG = [word for word in QUICK if "epochs" not in word]


def started(folder, epochs, *words):
    """A sweep whose first two jobs have trained for a while."""
    process = shell(folder, *LONG, f"trainer.epochs={epochs}", "-m", *words, "hydra.sweep.dir=sweep")
    end = time.monotonic() + 120
    while not all((folder / f"sweep/{k}/checkpoints/last.safetensors").exists() for k in (0, 1)):
        if process.poll() is not None or time.monotonic() > end:
            raise AssertionError(done(process, 1))
        time.sleep(0.1)
    return process


def test_ctrl_c_leaves_runs_that_go_on_to_the_same_end(tmp_path, monkeypatch, capsys):
    """By another launcher, with more epochs than were asked for: as if nothing had ended it."""
    chosen = launcher("joblib")
    process = started(tmp_path, 100000, "seed=0,1,2", *chosen, "hydra.launcher.n_jobs=2")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to all
    _, err = done(process, 60)
    assert process.returncode == 130, err
    sweep = Sweep.load(tmp_path / "sweep")
    assert [job.state for job in sweep.jobs] == ["interrupted", "interrupted", "missing"]
    epochs = max(len(job.run.metrics) for job in sweep.jobs if job.run) + 1
    monkeypatch.chdir(tmp_path)
    assert (
        main(["train", "-m", f"resume={tmp_path / 'sweep'}", f"trainer.epochs={epochs}", "hydra/launcher=basic"]) == 0
    )
    assert main(["train", *LONG, f"trainer.epochs={epochs}", "-m", "seed=0,1,2", "hydra.sweep.dir=whole"]) == 0
    for number in range(3):
        one, other = (same(tmp_path / folder) for folder in ("sweep", "whole"))
        for file in (f"{number}/model.safetensors", f"{number}/metrics.jsonl"):
            assert one[file] == other[file], file


def children(process):
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in text.split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are looked for in /proc")
def test_a_job_that_a_cluster_queues_again_goes_on(tmp_path, monkeypatch):
    """submitit's signal ends a job in order; the same job, begun again, ends as if it had never been ended."""
    chosen = launcher("submitit_local")
    epochs = 150
    process = started(tmp_path, epochs, "seed=0,1", *chosen)
    jobs = [c for c in children(process.pid) if "submitit.local" in Path(f"/proc/{c}/cmdline").read_text()]
    (worker,) = children(jobs[0])
    os.kill(worker, signal.SIGUSR2)
    out, err = done(process)
    assert process.returncode == 0, (out, err)
    resumed = [json.loads((tmp_path / f"sweep/{k}/run.json").read_text()).get("resumed") for k in (0, 1)]
    assert sorted(len(times or ()) for times in resumed) == [0, 1]
    monkeypatch.chdir(tmp_path)
    assert main(["train", *LONG, f"trainer.epochs={epochs}", "-m", "seed=0,1", "hydra.sweep.dir=whole"]) == 0
    one, other = (same(tmp_path / folder) for folder in ("sweep", "whole"))
    for number in (0, 1):
        for file in (f"{number}/model.safetensors", f"{number}/metrics.jsonl"):
            assert one[file] == other[file], file


def test_a_worker_that_is_killed_is_told_and_the_sweep_goes_on(tmp_path):
    chosen = launcher("joblib")
    process = started(tmp_path, 100000, "seed=0,1", *chosen, "hydra.launcher.n_jobs=2")
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    out, err = done(process, 60)
    assert process.returncode == 1
    assert "hydra/launcher=joblib gave up (TerminatedWorkerError" in err
    assert "resume=" in err + out
    assert Sweep.load(tmp_path / "sweep").counts == {"interrupted": 2}
