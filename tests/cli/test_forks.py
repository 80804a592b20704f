"""Work in forked processes: all that is told comes, signals reach all of them once, none outlives its parent."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from ppl_vae.cli.forks import _Lines, in_processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="work is forked on Linux alone")


def telling(number, count, end):
    def work(tell):
        for k in range(count):
            tell((number, k))
        end()

    return work


def fail():
    raise ValueError("as users' code may")


ENDS = {0: lambda: None, 1: fail, -9: lambda: os.kill(os.getpid(), signal.SIGKILL), 3: lambda: sys.exit(3)}


@pytest.mark.parametrize("draw", range(6))
def test_all_that_is_told_comes_however_a_process_ends(draw, capfd):
    random.seed(draw)
    plans = [(random.choice((0, 1, 50)), random.choice(list(ENDS))) for _ in range(random.randint(1, 4))]
    heard = {number: [] for number in range(len(plans))}
    codes = in_processes(
        [telling(number, count, ENDS[code]) for number, (count, code) in enumerate(plans)],
        lambda number, told: heard[number].append(told),
    )
    assert codes == [code for _, code in plans]
    for number, (count, _) in enumerate(plans):
        assert heard[number] == [(number, k) for k in range(count)]
    assert capfd.readouterr().err.count("ValueError: as users' code may") == sum(code == 1 for _, code in plans)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_every_process_once_and_what_they_tell_last_comes(number):
    def work(tell):
        came = []
        for s in (signal.SIGINT, signal.SIGTERM):
            signal.signal(s, lambda s, _: came.append(s))
        tell("ready")
        while not came:
            time.sleep(0.01)
        time.sleep(0.2)
        tell(came)

    class Terminated(KeyboardInterrupt):
        pass

    def stop(*_):
        raise Terminated

    heard = []
    before = signal.signal(signal.SIGTERM, stop)

    def hear(which, told):
        heard.append(told)
        if heard.count("ready") == 2 and len(heard) == 2:
            threading.Timer(0.1, os.kill, (os.getpid(), number)).start()

    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            in_processes([work, work], hear)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.type is (KeyboardInterrupt if number == signal.SIGINT else Terminated)
    assert heard == ["ready", "ready", [number], [number]]


def test_no_process_outlives_its_parent(tmp_path):
    script = textwrap.dedent("""
        import os, pathlib, time
        from ppl_vae.cli.forks import in_processes
        def work(tell):
            tell(os.getpid())
            time.sleep(60)
        def hear(number, pid):
            with open("pids", "a") as file:
                print(pid, file=file, flush=True)
        in_processes([work, work], hear)
    """)
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    pids = []
    deadline = time.monotonic() + 60
    while len(pids) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
        if (tmp_path / "pids").exists():
            pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    parent.kill()
    parent.wait()
    assert len(pids) == 2
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(alive, pids))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_standard_error_of_a_process_is_whole_lines(capsys):
    lines = _Lines(sys.stderr)
    print("one", end=" ", file=lines, flush=True)
    assert capsys.readouterr().err == ""
    print("line", "and the next", sep="\n", end="", file=lines)
    assert capsys.readouterr().err == "one line\n"
    assert not lines.isatty()
