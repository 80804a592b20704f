"""`hydra/launcher=batched`: the folder of a sweep is that of the basic launcher, to rounding."""

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ppl_vae.cli import batched, launchers
from ppl_vae.runs.run import Run
from ppl_vae.training.checkpoint import Store
from tests.cli.small import SMALL

BATCHED = ("-m", "hydra/launcher=batched", "hydra.sweep.dir=batched")
BASIC = ("-m", "hydra.sweep.dir=basic")


def assert_same_run(mine, other):
    """Equal but for times and for rounding (float32 Adam, a dozen steps: 2e-3)."""
    assert sorted(p.relative_to(mine) for p in mine.rglob("*")) == sorted(
        p.relative_to(other) for p in other.rglob("*")
    )
    tensors, expected = load_file(mine / "model.safetensors"), load_file(other / "model.safetensors")
    assert tensors.keys() == expected.keys()
    assert all(torch.allclose(tensors[k], expected[k], atol=2e-3) for k in tensors)
    lines = [[json.loads(line) for line in (d / "metrics.jsonl").read_text().splitlines()] for d in (mine, other)]
    for row, reference in zip(*lines, strict=True):
        assert list(row) == list(reference)
        assert all(
            math.isclose(row[k], reference[k], rel_tol=2e-3, abs_tol=2e-3) for k in row.keys() - {"seconds", "check"}
        )
    records = [json.loads((d / "run.json").read_text()) for d in (mine, other)]
    assert records[0].keys() == records[1].keys()
    for key in ("status", "seed", "job", "overrides", "choices", "verb"):
        assert records[0].get(key) == records[1].get(key)
    result, reference = (r.get("result", {}) for r in records)
    assert result.keys() == reference.keys()
    assert all(math.isclose(result[k], reference[k], rel_tol=0.02, abs_tol=0.02) for k in result)


@pytest.mark.slow
def test_a_sweep_of_numbers_is_that_of_the_basic_launcher(cli, tmp_path):
    """Two kinds (latent_dim), within each a number of seed and lr; one job is refused, one becomes NaN."""
    words = (*SMALL, "model.latent_dim=1,2", "seed=0,1", "optimizer.lr=1e-2,-1")
    together, basic = cli("train", *words, *BATCHED), cli("train", *words, *BASIC)
    assert together.code == basic.code == 1
    assert "2 runs as one program" in together.err
    assert "4 of 8 failed" in together.err
    assert "4 of 8 failed" in basic.err
    for number in range(8):
        mine, other = tmp_path / "batched" / str(number), tmp_path / "basic" / str(number)
        if number % 2:
            assert Run(mine).status == Run(other).status == "failed"
            assert (
                json.loads((mine / "run.json").read_text())["error"]
                == (json.loads((other / "run.json").read_text())["error"])
            )
        else:
            assert Run(mine).status == "finished"
            assert_same_run(mine, other)


@pytest.mark.slow
def test_a_job_that_becomes_nan_fails_in_its_turn(cli, tmp_path):
    words = (*SMALL, "optimizer=sgd", "optimizer.lr=1e-3,1e30,2e-3")
    called = cli("train", *words, *BATCHED)
    assert called.code == 1
    assert "1 of 3 failed" in called.err
    states = [Run(tmp_path / "batched" / str(n)).status for n in range(3)]
    assert states == ["finished", "failed", "finished"]
    assert "expected finite numbers" in json.loads((tmp_path / "batched" / "1" / "run.json").read_text())["error"]
    assert "finite" in (tmp_path / "batched" / "1" / "error.txt").read_text()


@pytest.mark.slow
def test_ctrl_c_while_training_leaves_runs_to_go_on_with(cli, tmp_path):
    """The signal comes from the pair itself, in the first step of the second job."""
    (tmp_path / "stopping.py").write_text(STOPPING)
    words = [w for w in SMALL if not w.startswith(("model.", "guide."))]
    pair = ("model._target_=stopping.Model", "guide._target_=stopping.Guide")
    called = cli("train", *words, *pair, "seed=0,1,2", *BATCHED)
    assert called.code == 130
    assert [Run(tmp_path / "batched" / str(n)).status for n in range(3)] == ["interrupted"] * 3
    (tmp_path / "stopped").write_text("")
    again = cli("train", "-m", "resume=batched")
    assert again.code == 0, again.err
    assert [Run(tmp_path / "batched" / str(n)).status for n in range(3)] == ["finished"] * 3


STOPPING = """
import pathlib, signal, torch, pyro, pyro.distributions as dist
calls = 0
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(3))
    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + self.shift, 1.0).to_event(1), obs=x)
class Guide(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.zeros(3))
    def forward(self, x):
        here = pathlib.Path("stopped")
        if pathlib.Path("batched/2/checkpoints/last.safetensors").exists() and not here.exists():
            here.write_text("")
            signal.raise_signal(signal.SIGINT)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(self.slope * x, 0.7).to_event(1))
"""


def test_keys_of_the_launcher_are_checked(cli, tmp_path):
    for key, told in (
        ("hydra.launcher.at_once=1", "at least 2"),
        ("hydra.launcher.workers=0", "at least 1"),
        ("hydra.launcher.workers=2.5", "at least 1"),
        ("+hydra.launcher.many=3", "expected at_once or workers"),
    ):
        called = cli("train", *SMALL, "seed=0,1", *BATCHED, key)
        assert called.code == 2, called.err
        assert told in called.err


@pytest.mark.slow
def test_workers_share_the_jobs_and_give_what_one_process_gives(shell, tmp_path):
    """Two kinds, jobs in an order that mixes them, one refused; results are printed in the order of the jobs."""
    words = (*SMALL, "model.latent_dim=1,2", "seed=0,1", "optimizer.lr=1e-2,-1", "format=json")
    basic = shell("train", *words, *BASIC)
    shared = shell("train", *words, *BATCHED, "hydra.launcher.workers=2")
    assert shared.code == basic.code == 1, shared.err
    assert "4 of 8 failed" in shared.err
    assert shared.err.count("2 runs as one program") == 2
    told = [[(row["job"], row["status"]) for row in called.json] for called in (shared, basic)]
    assert told[0] == told[1] == [(n, "failed" if n % 2 else "finished") for n in range(8)]
    for number in range(0, 8, 2):
        assert_same_run(tmp_path / "batched" / str(number), tmp_path / "basic" / str(number))


@pytest.mark.slow
def test_jobs_are_begun_some_at_a_time(cli, tmp_path):
    """Of six jobs at most two at a time, taken in another order: each is there as its overrides say."""
    called = cli("train", *SMALL, "seed=0,1,2", "trainer.grad_clip=1,2", *BATCHED, "hydra.launcher.at_once=2")
    assert called.code == 0, called.err
    assert called.err.count("2 jobs are trained together") == 3
    for number in range(6):
        run = Run(tmp_path / "batched" / str(number))
        assert run.status == "finished"
        assert (run.config.seed, run.config.trainer.grad_clip) == (number // 2, 1 + number % 2)


def under_way(shell, tmp_path, epochs):
    """A sweep of four runs in two workers, each of which has ended an epoch; the process, and their metrics."""
    words = [w for w in SMALL if not w.startswith("trainer.epochs")]
    words += [f"trainer.epochs={epochs}", "seed=range(4)", *BATCHED, "hydra.launcher.workers=2"]
    process = shell.start("train", *words)
    seen = [tmp_path / "batched" / str(n) / "metrics.jsonl" for n in range(4)]
    deadline = time.monotonic() + 300
    while not all(path.exists() and path.stat().st_size for path in seen):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process, seen


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_workers_leave_runs_to_go_on_with(shell, tmp_path, number):
    """The signal comes to the first process alone, in the middle of training."""
    process, seen = under_way(shell, tmp_path, 3000)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    deadline = time.monotonic() + 60
    while (states := [Run(path.parent).status for path in seen]) != ["interrupted"] * 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert states == ["interrupted"] * 4
    saved = [load(path.parent)["epoch"] for path in seen]
    assert number == signal.SIGKILL or min(saved) >= 1
    again = shell("train", "-m", "resume=batched", "trainer.epochs=1")  # so that there is nothing left to train
    assert again.code == 0, again.err
    assert [Run(path.parent).status for path in seen] == ["finished"] * 4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="work is forked on Linux alone")
def test_a_worker_that_is_killed_is_told_and_the_others_end(shell, tmp_path):
    process, seen = under_way(shell, tmp_path, 300)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(int(children[0]), signal.SIGKILL)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "2 jobs have not come to their end, since their process was ended by signal 9" in err
    assert sorted(Run(path.parent).status for path in seen) == ["finished"] * 2 + ["interrupted"] * 2
    assert "go on with the rest: ppl-vae train -m resume=" in err


def test_a_process_that_has_trained_is_not_forked(cli, monkeypatch):
    """A search asks the launcher several times: here first where one core is free, then where two are."""
    forked, cores = [], iter((1, 2, 2, 2))
    monkeypatch.setattr(batched, "_in_workers", lambda *words: forked.append(words))
    monkeypatch.setattr(batched, "RUNS", 1)
    monkeypatch.setattr(launchers, "workers", lambda threads=None: next(cores))
    called = cli("train", *SMALL, "seed=0,1,2,3", *BATCHED, "hydra.sweeper.max_batch_size=2")
    assert called.code == 0, called.err
    assert not forked
    assert next(cores) == 2  # it was asked for the second two jobs, too


@pytest.mark.slow
def test_the_files_of_short_epochs_are_written_at_a_pace_and_nothing_is_lost(cli, tmp_path, monkeypatch):
    """However seldom they are written, a run ends with all; a failed one keeps what its last whole epoch left."""
    from ppl_vae.sweeps import together

    saved = []
    real = Store.save_last
    monkeypatch.setattr(Store, "save_last", lambda self, state: saved.append(self.directory.name) or real(self, state))
    words = [w for w in SMALL if not w.startswith("trainer.epochs")]
    for share, least, most in ((0.0, 2, 3), (1e9, 9, 10)):
        saved.clear()
        monkeypatch.setattr(together, "SAVING", share)
        folder = f"hydra.sweep.dir=at{share}"
        called = cli("train", *words, "trainer.epochs=8", "seed=0,1", *BATCHED[:2], folder)
        assert called.code == 0, called.err
        assert least <= saved.count("0") <= most
    slow, fast = (tmp_path / f"at{share}" / "1" for share in (0.0, 1e9))
    assert_same_run(slow, fast)
    assert untimed(load(slow)) == untimed(load(fast))
    failing = cli(
        "train", *words, "trainer.epochs=8", "optimizer=sgd", "optimizer.lr=1e-3,1e10", "trainer.keep=last", *BATCHED
    )
    assert failing.code == 1
    rows = (tmp_path / "batched" / "1" / "metrics.jsonl").read_text().splitlines()
    assert load(tmp_path / "batched" / "1")["epoch"] == len(rows)


def load(directory):
    return Store(directory).load()


def untimed(state):
    """The state but for times, tensors as lists."""
    if isinstance(state, dict):
        return {k: untimed(v) for k, v in state.items() if k != "spent"}
    return state.tolist() if isinstance(state, torch.Tensor) else state
