"""A run that is ended at any operation on the disk goes on to the same end, or had not begun.

The law, for every operation of a short run and every way to end there: going on gives the files of the run that was
never ended, bit for bit but for times; or the folder holds no run, says so, and a new run can begin in it.
"""

import json
import os
import re
from pathlib import Path

import pytest

import ppl_vae as pv
from ppl_vae.errors import RunError
from ppl_vae.runs import recorder
from ppl_vae.runs.recorder import RunWriter
from ppl_vae.runs.run import Run, find
from tests.runs.disk import Disk, Killed
from tests.training.pairs import dataset, pair, rows, weights

CONFIG = {"model": {"_target_": "a.b"}, "guide": {"_target_": "a.c"}}


def by_fit(directory, resume=False):
    """`pv.fit(…, directory=…)`, of which the whole directory is the run."""
    data = dataset(train=8, validation=4)
    # From the first checkpoint on, the initial weights of a process that goes on count no more.
    vae = pair(seed=7 if resume and (Path(directory) / recorder.CHECKPOINT).exists() else 0)
    options = {"epochs": 2, "batch_size": 4, "compile": "off", "progress": False, "seed": 3}
    return vae, pv.fit(vae, data, directory=directory, resume=resume, **options)


def by_command(directory, resume=False):
    """As the command line trains: it holds the directory, and writes the config of the run first."""
    with RunWriter(find(directory, key="resume") if resume else directory, resume=resume) as writer:
        writer.start(CONFIG, verb="train", seed=3)
        vae, history = by_fit(writer, resume)
        writer.end("finished", result=history.result)
    return vae, history


def kept(directory):
    """All files as far as they hold no time."""
    found = {}
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.name == "run.json":
            record = json.loads(content)
            content = {k: record[k] for k in ("verb", "status", "seed", "result")}
            content["result"].pop("validation/seconds", None)
        elif path.name == "metrics.jsonl":
            content = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in content.splitlines()]
        elif path.name == ".lock":
            continue
        found[path.relative_to(directory).as_posix()] = content
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No subprocesses for facts that are not looked at."""
    monkeypatch.setattr(recorder, "_git", dict)


@pytest.fixture(scope="module", params=[by_fit, by_command], ids=["fit", "command"])
def whole(request, tmp_path_factory):
    """The run that is never ended, and the operations that it makes."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch, Disk(directory)() as disk:
        patch.setattr(recorder, "_git", dict)
        vae, history = request.param(directory)
    return request.param, kept(directory), rows(history), weights(vae), disk.log


def assert_goes_on(train, directory, files, lines, values, where):
    refusal = ""
    try:
        vae, history = train(directory, resume=True)
    except RunError as error:
        refusal = str(error)
        vae, history = train(directory)
    assert not refusal or NOTHING.search(refusal), (where, refusal)
    assert rows(history) == lines, where
    assert weights(vae).keys() == values.keys()
    assert all(v.equal(values[k]) for k, v in weights(vae).items()), where
    found = kept(directory)
    assert found.keys() == files.keys(), where
    assert [name for name in files if found[name] != files[name]] == [], where


NOTHING = re.compile("is no folder|no such folder|othing was started")
WAYS = {"killed": Killed, "torn": Killed, "ctrl-c": KeyboardInterrupt, "full": RunError}


EVERY = {"killed at every third": ("killed", 3)} | {f"{how} at each": (how, 1) for how in WAYS}


@pytest.mark.parametrize(
    ("how", "every"),
    [pytest.param(*way, id=name, marks=[pytest.mark.slow] if way[1] == 1 else []) for name, way in EVERY.items()],
)
def test_ended_at_an_operation(how, every, whole, tmp_path):
    train, files, lines, values, log = whole
    assert len(log) > 50
    for at, operation in enumerate(log):
        if at % every or (how == "torn" and operation[0] != "write"):
            continue
        directory = tmp_path / str(at) / "run"
        directory.parent.mkdir()
        where = f"{how} at operation {at}, {operation}"
        with Disk(directory, at, how)() as disk:
            try:
                train(directory)
            except WAYS[how]:
                pass
        assert disk.fired, where
        assert_goes_on(train, directory, files, lines, values, where)


@pytest.mark.slow
def test_ended_at_every_operation_of_going_on(whole, tmp_path):
    """A run killed in its second epoch, then again at each operation of the process that goes on with it."""
    train, files, lines, values, log = whole
    second = max(i for i, (name, _) in enumerate(log) if name == "replace") - 2

    def ended(directory):
        with Disk(directory, second)(), pytest.raises(Killed):
            train(directory)

    (tmp_path / "first").mkdir()
    ended(tmp_path / "first" / "run")
    with Disk(tmp_path / "first" / "run")() as disk:
        train(tmp_path / "first" / "run", resume=True)
    for at, operation in enumerate(disk.log):
        directory = tmp_path / str(at) / "run"
        directory.parent.mkdir()
        ended(directory)
        with Disk(directory, at)(), pytest.raises(Killed):
            train(directory, resume=True)
        assert_goes_on(train, directory, files, lines, values, f"killed again at operation {at}, {operation}")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_process_that_is_gone_at_once(whole, tmp_path):
    """The same with `os._exit` in a process of its own, at every seventh operation: nothing is cleaned up."""
    train, files, lines, values, log = whole
    for at in range(0, len(log), 7):
        directory = tmp_path / str(at) / "run"
        directory.parent.mkdir()
        child = os.fork()
        if child == 0:
            try:
                with Disk(directory, at, "exit")():
                    train(directory)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert_goes_on(train, directory, files, lines, values, f"gone at operation {at}, {log[at]}")


def test_what_has_not_begun_is_told(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("model: {}")
    with pytest.raises(RunError, match="nothing was started"):
        Run.load(tmp_path / "run")


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_full_disk_is_told_by_the_file_and_the_status_is_true(every, whole, tmp_path):
    """At each operation: the file that could not be written is named, no run is said to run, and it goes on later."""
    train, files, lines, values, log = whole
    for at, (name, place) in enumerate(log):
        if at % every or name not in ("open", "write", "mkdir"):
            continue
        directory = tmp_path / str(at) / "run"
        directory.parent.mkdir()
        where = f"full at operation {at}, {name} {place}"
        with Disk(directory, at, "full")(), pytest.raises(RunError, match="No space left") as caught:
            train(directory)
        told = place.rpartition("/")[2]
        told = re.sub(r"^\.(.+)\.\w+-\d+-\w+\.tmp$", r"\1", told) if told.endswith(".tmp") else told
        assert told in str(caught.value), (where, str(caught.value))
        if (directory / "run.json").exists():
            assert Run(directory).status in ("interrupted", "failed"), where
        assert not list(directory.rglob("*.tmp")), where
        assert_goes_on(train, directory, files, lines, values, where)
