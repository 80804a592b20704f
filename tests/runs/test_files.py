"""Files are there in full or not at all, whenever the process is killed."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from ppl_vae.errors import RunError
from ppl_vae.runs import files as atomic
from ppl_vae.training import Store
from tests.training.pairs import pair, rows, train


def test_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    atomic.write_atomically(path, "1")
    atomic.write_atomically(path, b"2")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "2"


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file(fails, tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    atomic.write_atomically(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*(os, fails, full))
    with pytest.raises(RunError, match="No space left"):
        atomic.write_atomically(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "old"


def test_an_unwritable_place_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="expected a folder"):
        train(pair(), tmp_path / "file" / "run")


@pytest.mark.parametrize(
    "moment",
    ["before rename", *(pytest.param(m, marks=pytest.mark.slow) for m in ("before fsync", "after rename"))],
)
def test_killed_while_saving_state_goes_on_from_the_last_good_one(moment, tmp_path, repository):
    """The process kills itself while it writes its fourth checkpoint; the run then ends as if it had not."""
    script = f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(repository)!r})
        from ppl_vae.runs import files as atomic
        from tests.training.pairs import pair, train
        count, replace, fsync = 0, os.replace, os.fsync
        def die():
            os.kill(os.getpid(), signal.SIGKILL)
        def counted(path, target):
            global count
            count += Path(target).name == "last.safetensors"
            if count == 4 and {moment!r} == "before rename":
                die()
            replace(path, target)
            if count == 4 and {moment!r} == "after rename":
                die()
        def synced(descriptor):
            name = os.readlink(f"/proc/self/fd/{{descriptor}}")
            if count == 3 and "last.safetensors" in name and {moment!r} == "before fsync":
                die()
            fsync(descriptor)
        os.replace, os.fsync = counted, synced
        train(pair(), {str(tmp_path / "run")!r})
    """
    if not Path("/proc/self/fd").exists() and moment == "before fsync":
        pytest.skip("names of open files are read from /proc")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    state = Store(tmp_path / "run").load()
    assert state["epoch"] == (3 if moment == "after rename" else 2)
    assert rows(train(pair(4), tmp_path / "run", resume=True)) == rows(train(pair(), tmp_path / "whole"))
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.slow
def test_killed_at_any_time_goes_on(tmp_path, repository):
    expected = rows(train(pair(), tmp_path / "whole", epochs=60))
    script = f"""
        import sys
        sys.path.insert(0, {str(repository)!r})
        from tests.training.pairs import pair, train
        train(pair(), {str(tmp_path / "run")!r}, epochs=60, resume={{resume}})
    """
    (tmp_path / "run").mkdir()
    for delay in (0.02, 0.11, 0.23):
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script.format(resume=True))])
        while not Store(tmp_path / "run").last.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        process.wait()
    assert rows(train(pair(4), tmp_path / "run", epochs=60, resume=True)) == expected


def test_a_disk_that_can_only_be_read_is_answered_by_the_name_of_the_file(tmp_path, monkeypatch):
    """There, taking the temporary file away fails as well."""

    def read_only(path, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(RunError, match=r"Read-only file system when writing .*table\.csv"):
        atomic.write_atomically(tmp_path / "table.csv", "1")
