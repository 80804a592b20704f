"""A sweep that is killed at any moment goes on to the same end.

The law, for any operation on the disk or any time at which the process is gone: `train -m resume=DIR` gives the folder
of the sweep that was never ended, bit for bit but for times; or nothing of a sweep is there, it says so, and the same
command begins anew in that folder.
"""

import os
import random

import pytest

from ppl_vae.__main__ import main
from ppl_vae.runs import recorder
from ppl_vae.sweeps.sweep import Sweep
from tests.cli.kept import gone, kept
from tests.cli.small import SMALL
from tests.runs.disk import Disk, Killed

SWEEP = (*SMALL, "trainer.compile=off", "-m", "seed=0", "optimizer.lr=1e-2,-1", "hydra.sweep.dir=sweep")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No subprocesses for facts that are not looked at."""
    monkeypatch.setattr(recorder, "_git", dict)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of the sweep that is never ended, and the operations on the disk that it makes."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch, Disk(folder / "sweep")() as disk:
        patch.setattr(recorder, "_git", dict)
        patch.chdir(folder)
        assert main(["train", *SWEEP]) == 1  # one job is refused
    return kept(folder / "sweep"), disk.log


def assert_goes_on(cli, folder, files, where):
    called = cli("train", "-m", "resume=sweep")
    if not (folder / "sweep" / "sweep.json").exists():
        assert (called.code, "resume=" in called.err) == (1, True), where
        called = cli("train", *SWEEP)
    assert called.code == 1, (where, called.err)
    assert "1 of 2 failed" in called.err
    found = kept(folder / "sweep")
    assert found.keys() == files.keys(), where
    for name in files:
        assert found[name] == files[name], (where, name)


def killed_at(folder, at, *words):
    with Disk(folder / "sweep", at)() as disk, pytest.raises(Killed):
        main(["train", *(words or SWEEP)])
    assert disk.fired
    for left in folder.rglob(f".*-{os.getpid()}-*"):  # a process that is gone has a number that nobody has
        left.rename(left.with_name(left.name.replace(f"-{os.getpid()}-", f"-{2**22 - 1}-")))


def places(log, count, seed):
    """Some operations by chance, one in the middle of the last job among them."""
    return [len(log) - 3, *random.Random(seed).sample(range(len(log) - 3), count - 1)]


def test_killed_at_an_operation(cli, whole, tmp_path):
    files, log = whole
    assert len(log) > 50
    for at in places(log, 2, seed=4):
        folder = tmp_path / str(at)
        folder.mkdir()
        os.chdir(folder)
        killed_at(folder, at)
        assert_goes_on(cli, folder, files, f"killed at operation {at}, {log[at]}")


@pytest.mark.slow
def test_killed_at_many_operations(cli, whole, tmp_path):
    files, log = whole
    for at in range(0, len(log), 5):
        folder = tmp_path / str(at)
        folder.mkdir()
        os.chdir(folder)
        killed_at(folder, at)
        assert_goes_on(cli, folder, files, f"killed at operation {at}, {log[at]}")


@pytest.mark.slow
def test_killed_again_while_going_on(cli, whole, tmp_path):
    files, log = whole
    for first, second in [(20, 10), (45, 20), (60, 5), (70, 30)]:
        folder = tmp_path / f"{first} {second}"
        folder.mkdir()
        os.chdir(folder)
        killed_at(folder, first)
        killed_at(folder, second, "-m", "resume=sweep")
        assert_goes_on(cli, folder, files, f"killed at operation {first}, {log[first]}, and again at {second}")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_killed_twice_at_any_time(cli, whole, tmp_path):
    """`kill -9` at times by chance: what one process of three leaves, the next goes on with."""
    files, _ = whole
    times = random.Random(1)
    for case in range(8):
        folder = tmp_path / str(case)
        folder.mkdir()
        os.chdir(folder)
        spans = [times.uniform(0.05, 1.5), times.uniform(0.05, 1.5)]
        gone(SWEEP, spans[0])
        there = (folder / "sweep" / "sweep.json").exists()
        gone(("-m", "resume=sweep") if there else SWEEP, spans[1])
        assert_goes_on(cli, folder, files, f"killed after {spans}")


def test_what_one_finished_job_of_four_reads_as(cli, whole, tmp_path):
    """A sweep that was killed in its second job: every place says what there is and what there is not."""
    _, log = whole
    second = next(i for i, (_, path) in enumerate(log) if path.startswith("/1"))
    words = [*SWEEP, "optimizer.lr=1e-2,1e-3", "seed=0,1"]
    with Disk(tmp_path / "sweep", second + 8)(), pytest.raises(Killed):
        main(["train", *words])
    sweep = Sweep.load("sweep")
    assert sweep.counts["finished"] == 1
    assert sum(sweep.counts.values()) == 4
    assert sweep.state == "interrupted"
    listed = cli("sweeps", "dir=.")
    assert "interrupted: 1 finished" in listed.out
    assert "resume=" in listed.out
    (record,) = cli("sweeps", "dir=.", "format=json").json[0]["sweeps"]
    assert (record["jobs"], record["finished"], record["state"]) == (4, 1, "interrupted")
    assert record["missing"] + record["interrupted"] == 3
    assert "sweep of 4 jobs, 1 finished" in cli("evaluate", "run=sweep").err
