"""Which device a process takes, by every environment that a worker may find."""

import itertools
import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
import torch

from ppl_vae.cli import worker
from ppl_vae.cli.worker import chosen, home, number, requeued, take_device, visible
from ppl_vae.errors import PplVaeError, UsageError
from tests.cli.small import SMALL

RANKS = (None, "", *map(str, range(6)))
WORKERS = (None, *range(6))


def environments():
    """Every way in which a process may be told which one it is."""
    for rank, local, seen in itertools.product(RANKS, RANKS, (None, "", "3,1")):
        told = {"LOCAL_RANK": rank, "SLURM_LOCALID": local, "CUDA_VISIBLE_DEVICES": seen}
        yield {k: v for k, v in told.items() if v is not None}


def test_auto_is_a_device_that_is_there_in_every_environment():
    for environment, count, mine in itertools.product(environments(), range(5), WORKERS):
        device = chosen("auto", environment, count, mine)
        there = [f"cuda:{k}" for k in range(count)] or ["cpu"]
        assert device in there, (environment, count, mine)
        rank, local = environment.get("LOCAL_RANK"), environment.get("SLURM_LOCALID")
        if rank:  # says it alone
            assert device == chosen("auto", {"LOCAL_RANK": rank}, count)
        elif mine is not None:  # an allocation's variable that the shell handed down does not count
            assert device == chosen("auto", {}, count, mine)
        elif local:
            assert device == chosen("auto", {"LOCAL_RANK": local}, count)
        else:
            assert device == there[0]


@pytest.mark.parametrize("source", ["LOCAL_RANK", "worker", "SLURM_LOCALID"])
def test_processes_are_spread_evenly(source):
    for processes, count in itertools.product(range(1, 9), range(1, 5)):
        told = [({}, k) if source == "worker" else ({source: str(k)}, None) for k in range(processes)]
        loads = Counter(chosen("auto", environment, count, mine) for environment, mine in told)
        assert len(loads) == min(processes, count)
        assert max(loads.values()) - min(loads.values()) <= 1


def test_a_device_that_was_named_is_taken_as_it_is():
    for environment, name in itertools.product(environments(), ("cpu", "cuda", "cuda:7", "nonsense")):
        assert chosen(name, environment, 4, 2) == name


@pytest.mark.parametrize("variable", ["LOCAL_RANK", "SLURM_LOCALID"])
@pytest.mark.parametrize("text", ["-1", "a", "1.0", "²", " 1", "0x1", "1e3"])
def test_a_rank_that_is_no_number_is_refused(variable, text):
    with pytest.raises(UsageError, match=f"{variable}: got .*engine.device=cpu"):
        chosen("auto", {variable: text}, 4, 1)


def test_what_submitit_hides_is_put_back_and_nothing_else():
    for executor, here, told in itertools.product((None, "local", "slurm"), (None, "", "0"), (None, "", "2,3")):
        environment = {"SUBMITIT_EXECUTOR": executor, "CUDA_VISIBLE_DEVICES": here}
        changes = visible({k: v for k, v in environment.items() if v is not None}, told)
        hidden = executor == "local" and here == ""
        assert (environment | changes)["CUDA_VISIBLE_DEVICES"] == (told if hidden else here)


def test_the_process_of_the_command_has_no_number():
    assert number(home(), 3) is None
    assert number(("elsewhere", os.getpid()), 3) == 3
    assert number((home()[0], os.getpid() + 1), 3) == 3


def test_a_worker_of_a_pool_has_the_number_of_the_pool(monkeypatch):
    class LokyProcess:
        _identity = (2,)

    monkeypatch.setattr(worker.multiprocessing, "current_process", LokyProcess)
    assert number(("elsewhere", 1), job=7) == 1
    assert number(home(), job=7) is None


@pytest.fixture
def two_devices(monkeypatch):
    """A machine that says it has two CUDA devices, which fail when they are used."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for variable in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.skipif(torch.backends.cuda.is_built(), reason="there may be such devices here")
def test_the_device_is_looked_for_by_the_number_of_the_worker(two_devices):
    for mine, name in ((None, "cuda:0"), (0, "cuda:0"), (1, "cuda:1"), (2, "cuda:0")):
        with pytest.raises(PplVaeError, match=f"engine.device: got '{name}'"):
            take_device("auto", mine)
    assert take_device("cpu", 1) == torch.device("cpu")


@pytest.mark.skipif(torch.backends.cuda.is_built(), reason="there may be such devices here")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_each_job_in_a_process_of_its_own_takes_its_own_device(cli, forks, two_devices):
    called = cli("train", *SMALL, "-m", "seed=0,1,2", "hydra.sweep.dir=sweep", forks)
    assert "3 of 3 failed" in called.err
    told = [json.loads(Path(f"sweep/{k}/run.json").read_text())["error"] for k in range(3)]
    assert [text.partition(",")[0] for text in told] == [f"engine.device: got 'cuda:{k}'" for k in (0, 1, 0)]


@pytest.mark.skipif(torch.backends.cuda.is_built(), reason="there may be such devices here")
def test_jobs_in_the_process_of_the_command_take_one_device(cli, two_devices):
    called = cli("train", *SMALL, "-m", "seed=0,1", "hydra.sweep.dir=sweep")
    assert called.err.count("got 'cuda:0'") == 2
    assert "cuda:1" not in called.err


@pytest.mark.slow
def test_the_threads_are_those_that_were_asked_for(cli):
    for words, threads in ((("engine.threads=2",), 2), ((), torch.get_num_threads())):
        folder = f"run{threads}"
        assert cli("train", *SMALL, *words, f"hydra.run.dir={folder}").code == 0
        record = json.loads(Path(folder, "run.json").read_text())
        assert (record["threads"], record["device"]) == (threads, "cpu")
    called = cli("train", *SMALL, "engine.threads=0")
    assert "engine.threads: got 0, expected a number above 0" in called.err


def test_the_signal_of_a_cluster_ends_a_job_as_ctrl_c_does_and_is_then_answered(monkeypatch):
    """First what Ctrl-C would do here, in order; then what submitit would have done at once."""
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    done = []

    def work():
        with requeued():
            try:
                signal.raise_signal(signal.SIGUSR2)
            finally:
                done.append("saved")

    def queue_again(number, frame):
        done.append("queued again")
        raise SystemExit(144)

    before = signal.signal(signal.SIGUSR2, queue_again)
    try:
        with pytest.raises(SystemExit, match="144"):
            work()
        with pytest.raises(KeyboardInterrupt), requeued():  # Ctrl-C is Ctrl-C
            raise KeyboardInterrupt
        assert done == ["saved", "queued again"]
        assert signal.getsignal(signal.SIGUSR2) is queue_again
        monkeypatch.delenv("SUBMITIT_EXECUTOR")
        with pytest.raises(SystemExit), requeued():  # another program's
            signal.raise_signal(signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
