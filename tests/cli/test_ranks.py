"""`engine=distributed`: two processes of the command line are one run, which one process can go on with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.small import SMALL

ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path, *words: str, port: int = 0) -> list[subprocess.Popen[str]]:
    """Two processes as a launcher starts them, without one that ends the other."""
    told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port or 40000 + os.getpid() % 20000)}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return [
        subprocess.Popen(
            [sys.executable, "-m", "ppl_vae", "train", *words],
            env={
                **os.environ,
                **told,
                "PYTHONPATH": path,
                "RANK": str(r),
                "LOCAL_RANK": str(r),
                "OMP_NUM_THREADS": "1",
            },
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(2)
    ]


def ended(started: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    done = [process.communicate(timeout=200) for process in started]
    return [(process.returncode, *both) for process, both in zip(started, done, strict=True)]


def metrics(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.mark.slow
def test_two_processes_are_one_run(train, cli, tmp_path):
    """The first writes and prints; one process in two shares has the same numbers, and each goes on with the other."""
    words = (*SMALL, "trainer.compile=off")
    (code, out, _), (other, nothing, _) = ended(
        start(tmp_path, *words, "engine=distributed", "format=json", "hydra.run.dir=two")
    )
    assert (code, other, nothing) == (0, 0, "")
    assert len(out.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["two"]
    record = json.loads((tmp_path / "two" / "run.json").read_text())
    assert (record["processes"], record["shares"]) == (2, 2)
    assert train("trainer.compile=off", "trainer.accumulate=2", "hydra.run.dir=one").code == 0
    assert metrics(tmp_path / "two") == metrics(tmp_path / "one")
    assert ended(start(tmp_path, "resume=one", "engine=distributed", "trainer.epochs=3"))[0][0] == 0
    assert cli("train", "resume=two", "engine=default", "trainer.epochs=3").code == 0
    assert metrics(tmp_path / "two") == metrics(tmp_path / "one")


@pytest.mark.slow
def test_a_signal_to_one_stops_both_and_one_process_goes_on(cli, tmp_path):
    started = start(
        tmp_path, *SMALL, "trainer.epochs=100000", "trainer.compile=off", "engine=distributed", "hydra.run.dir=run"
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "metrics.jsonl").exists() or not metrics(tmp_path / "run"):
        assert time.monotonic() < deadline
        assert started[0].poll() is None
        time.sleep(0.1)
    started[1].send_signal(signal.SIGTERM)
    (code, _, said), (other, _, told) = ended(started)
    assert (code, other) == (143, 143), said + told
    assert "interrupted; go on with: ppl-vae train resume=" in said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
    rows = len(metrics(tmp_path / "run"))
    called = cli("train", "resume=run", "engine=default", f"trainer.epochs={rows + 1}")
    assert called.code == 0, called.err
    assert len(metrics(tmp_path / "run")) == rows + 1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["processes"] == 1


THREADS = """
import os
from omegaconf import OmegaConf
from ppl_vae.cli.ranks import joined

def of_group():
    names = [open(f"/proc/self/task/{number}/comm").read() for number in os.listdir("/proc/self/task")]
    return sorted(name.strip() for name in names if "gloo" in name)

with joined(OmegaConf.create({"distributed": True, "device": "cpu"})):
    import torch, torch._dynamo
    torch.distributed.all_reduce(torch.ones(2))
    print(len(of_group()) > 0)
print(of_group())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are listed in /proc")
def test_no_thread_of_the_group_outlives_it(tmp_path):
    """One that does may abort the process as it ends, after all was written."""
    told = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", THREADS],
        env={**os.environ, **told, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout.split("\n") == ["True", "[]", ""], done.stderr


@pytest.mark.slow
def test_a_refusal_of_one_is_told_by_all(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"status": "finished"}')
    found = ended(start(tmp_path, *SMALL, "engine=distributed", "hydra.run.dir=run"))
    assert [code for code, *_ in found] == [1, 1]
    assert "holds a run already" in found[0][2]
    assert "Rank 0 of 2 failed" in found[1][2]


def test_a_sweep_of_several_processes_is_refused(train, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    called = train("-m", "seed=0,1", "engine=distributed")
    assert called.code == 1
    assert "Got WORLD_SIZE=2 and a sweep" in called.err
    assert called.left == []


def test_distributed_without_a_launcher_is_refused(train, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    called = train("engine=distributed")
    assert called.code == 1
    assert "torchrun --nproc_per_node=2 -m ppl_vae train engine=distributed" in called.err
    assert called.left == []


def test_a_device_for_all_is_refused(train, monkeypatch):
    told = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    called = train("engine=distributed", "engine.device=cuda:0")
    assert called.code == 2
    assert "each process takes the GPU of its own number" in called.err
