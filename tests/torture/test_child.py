"""Tasks in processes of their own: what they do is seen, and none of it stays."""

import os
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.torture.child import Watch, in_child, in_children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is looked into")


def seen(task, folder, **how):
    return in_child(task, Watch(folder, writable=(folder,), **how))


def test_what_it_says_and_gives_comes_back(tmp_path):
    def task():
        print("out")
        print("err", file=sys.stderr)
        os.environ["X_OF_TASK"] = "1"
        return [1, os.getcwd()]

    found = seen(task, tmp_path)
    assert (found.value, found.ended) == ([1, str(tmp_path)], "")
    assert (found.out, found.err) == ("out\n", "err\n")
    assert found.events == []
    assert "X_OF_TASK" not in os.environ
    assert found.grown > 1 << 20


def test_it_is_ended_when_it_waits_computes_dies_or_fails(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert seen(lambda: (tmp_path / "pipe").read_text(), tmp_path, seconds=0.3).ended == "time"

    def compute():
        while True:
            pass

    assert seen(compute, tmp_path, processor=1).ended == "time"
    assert seen(lambda: os.kill(os.getpid(), 9), tmp_path).ended == "signal 9"
    failed = seen(lambda: 1 / 0, tmp_path)
    assert failed.ended == "exit 1"
    assert "ZeroDivisionError" in failed.err
    assert "MemoryError" in seen(lambda: bytearray(1 << 33), tmp_path, memory=1 << 28).err


def test_several_at_a_time(tmp_path):
    began = time.monotonic()
    tasks = [(n, lambda n=n: (time.sleep(0.5), n)[1], Watch(tmp_path)) for n in range(4)]
    assert sorted((name, found.value) for name, found in in_children(tasks, 4)) == [(n, n) for n in range(4)]
    assert time.monotonic() - began < 1.9


class Payload:
    def __reduce__(self):
        return os.getcwd, ()


def code_of(folder):
    (folder / "evil.py").write_text("x = 1\n")
    sys.path.append(str(folder))
    __import__("evil")


def test_code_is_seen_whatever_it_is_called(tmp_path):
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    pickled = pickle.dumps(Payload())
    tasks = {
        "a process": lambda: subprocess.run(["true"], check=True),
        "a shell": lambda: os.system("true"),
        "a pickle": lambda: pickle.loads(pickled),
        "an import": lambda: code_of(hostile),
    }
    for name, task in tasks.items():
        found = in_child(task, Watch(tmp_path, hostile=(hostile,), writable=(tmp_path,)))
        assert [kind for kind, _ in found.events][:1] == ["code"], name
    assert seen(lambda: compile("1", str(tmp_path / "mine.py"), "exec") and None, tmp_path).events == []


def test_writing_outside_is_seen_through_links_and_refused_beyond_the_fence(tmp_path):
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "out" / "file").write_text("mine")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out" / "file")
    (tmp_path / "in" / "link3").symlink_to(tmp_path / "out" / "file")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "out")

    def events(task, **how):
        found = in_child(task, Watch(tmp_path / "in", writable=(tmp_path / "in",), **how))
        return [kind for kind, _ in found.events], found

    def flags(path):
        os.close(os.open(path, os.O_RDWR))

    for task in (
        lambda: Path("link").write_text("x"),
        lambda: flags("link"),
        lambda: Path("folder/new").mkdir(),
        lambda: os.replace("link", "folder/moved"),
        lambda: Path("folder/file").unlink(),
    ):
        assert events(task)[0][:1] == ["outside"]

    def exclusive(path):
        os.close(os.open(path, os.O_RDWR | os.O_NOFOLLOW))  # fails

    quiet = (
        lambda: exclusive("link3"),
        lambda: Path("a").write_text("x"),
        lambda: Path("link2").unlink(missing_ok=True),
        lambda: Path("b").mkdir(),
    )
    for task in quiet:
        assert events(task)[0] == []
    (tmp_path / "out" / "file").write_text("mine")
    kinds, found = events(lambda: Path("../out/file").write_text("x"), fence=tmp_path / "in")
    assert kinds == ["outside"]
    assert "PermissionError" in found.err
    assert (tmp_path / "out" / "file").read_text() == "mine"


def test_addresses_are_seen_and_not_reached_behind_a_fence(tmp_path):
    def task():
        socket.create_connection(("127.0.0.1", 9), timeout=1)

    found = in_child(task, Watch(tmp_path, fence=tmp_path))
    assert found.events[0][0] == "network"
    assert "lets nobody out" in found.err
