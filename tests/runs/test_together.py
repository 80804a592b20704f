"""Many processes read and write one run at once: nothing is lost or torn, and none keeps another from starting."""

import os
import sys
import time
import traceback

import pytest

import ppl_vae as pv
from ppl_vae import files
from ppl_vae.errors import RunError
from ppl_vae.files import manifest
from ppl_vae.runs.files import write_atomically
from ppl_vae.runs.recorder import RunWriter, locked, read_record
from ppl_vae.runs.run import Run
from tests.training.pairs import dataset, pair, train

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


def at_once(works, seconds=120):
    """Do each work in a process of its own; give what was printed of those that failed."""
    children, failed = {}, []
    for number, work in enumerate(works):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work()
                code = 0
            except BaseException:
                traceback.print_exc(file=sys.stderr)
            finally:
                os._exit(code)
        children[child] = number
    until = time.monotonic() + seconds
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            number = children.pop(child)
            failed += [number] if status else []
        elif time.monotonic() > until:
            for child in children:
                os.kill(child, 9)
            raise AssertionError(f"works {list(children.values())} wait for ever")
        else:
            time.sleep(0.01)
    return failed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("together") / "run"
    train(pair(), directory, epochs=2)
    return directory


def assert_all_agrees(directory):
    """What the manifest says is there, and is what it says; nothing temporary is left."""
    entries = manifest.entries(directory)
    for name in entries:
        files.verify(directory / name)
    assert not list(directory.rglob("*.tmp"))
    return entries


def test_800_writes_of_one_file_by_eight_processes(whole):
    """Of 800 some 345 failed, when all wrote under one temporary name."""
    path = whole / "evaluation.json"
    texts = [f'{{"writer": {n}, "more": "{str(n) * 2000}"}}\n' for n in range(8)]

    def write(text):
        for _ in range(100):
            write_atomically(path, text, listed=False)
            assert path.read_text() in texts

    assert at_once([lambda text=text: write(text) for text in texts]) == []
    path.unlink()


@pytest.mark.slow
def test_verbs_readers_and_a_trainer(tmp_path):
    """Evaluations, posteriors and tables are written, and all is read, while training goes on."""
    directory = tmp_path / "run"
    train(pair(), directory, epochs=1)
    data = dataset().validation[:4]
    until = time.monotonic() + 6.0

    def training():
        epochs = 1
        while time.monotonic() < until:
            epochs += 2
            train(pair(), directory, epochs=epochs, resume=True)

    def evaluating():
        vae = Run.load(directory, vae=pair()).vae
        while time.monotonic() < until:
            pv.evaluate(vae, data, 4).save(directory / "evaluation" / "test")

    def drawing():
        vae = Run.load(directory, vae=pair()).vae
        while time.monotonic() < until:
            pv.posterior(vae, data, draws=3, path=directory / "posterior.nc")
            Run.load(directory).posterior()

    def writing():
        for n in range(1, 10**6):
            if time.monotonic() > until:
                break
            write_atomically(directory / f"table-{os.getpid()}.csv", "a,b\n" * n)
            files.read(directory / f"table-{os.getpid()}.csv")

    def reading():
        while time.monotonic() < until:
            run = Run.load(directory, vae=pair())
            assert run.status in ("running", "finished", "interrupted")
            assert len(run.metrics) >= 1
            assert run.recipe["batch_size"] == 16
            assert run.vae is not None

    failed = at_once([training, evaluating, evaluating, drawing, writing, writing, reading, reading])
    assert failed == []
    entries = assert_all_agrees(directory)
    tables = [p.name for p in directory.glob("table-*.csv")]
    assert len(tables) == 2
    assert {"model.safetensors", "posterior.nc", "evaluation/test/table.csv", *tables} <= entries.keys()


def test_looking_at_a_status_keeps_no_trainer_from_starting(whole):
    """Four processes look without a pause; each start succeeds, and is seen while it lasts."""
    until = time.monotonic() + 2.0

    def looking():
        while time.monotonic() < until:
            locked(whole)
            _ = Run(whole).status

    def starting():
        count = 0
        while time.monotonic() < until:
            with RunWriter(whole, resume=True):
                assert locked(whole)
                with pytest.raises(RunError, match="another process"):
                    RunWriter(whole, resume=True)
            assert not locked(whole)
            count += 1
        assert count > 5

    assert at_once([looking, looking, looking, looking, starting]) == []


def test_reading_takes_no_lock(whole, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def taken(*_):
        raise AssertionError("a lock was taken")

    with RunWriter(whole, resume=True):
        monkeypatch.setattr(fcntl, "flock", taken)
        if hasattr(fcntl, "F_OFD_GETLK") and sys.platform == "linux":
            assert locked(whole)
        monkeypatch.undo()
    assert read_record(whole)["status"] == "finished"
    assert not locked(whole)


def test_of_many_trainers_one_starts(tmp_path):
    """Also where folders of refused runs are taken away at the same time."""
    directory = tmp_path / "run"
    note = tmp_path / "started"

    def start():
        for _ in range(40):
            try:
                with RunWriter(directory) as writer:
                    descriptor = os.open(note, os.O_CREAT | os.O_EXCL)  # nobody else is within
                    time.sleep(0.001)
                    os.close(descriptor)
                    note.unlink()
                    writer.discard()
            except RunError:
                pass

    assert at_once([start] * 4) == []
