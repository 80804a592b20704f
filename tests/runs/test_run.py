"""Run directories: recorded, locked, read back."""

import json
import sys

import pytest

from ppl_vae.errors import RunError
from ppl_vae.runs.recorder import RunWriter, read_record
from ppl_vae.runs.run import Run, children, find, latest

CONFIG = {"model": {"_target_": "a.b"}, "guide": {"_target_": "a.c"}}


def recorded(directory, status="finished", **facts):
    with RunWriter(directory) as recorder:
        recorder.start(CONFIG, **facts)
        recorder.end(status, result={"loss": float("nan"), "nll": 1.5})
    return directory


def test_the_life_of_a_run(tmp_path):
    directory = tmp_path / "a" / "b"
    with RunWriter(directory) as recorder:
        recorder.start(CONFIG, seed=3)
        assert Run(directory).status == "running"
        recorder.end("finished", result={"nll": 1.5})
    run = Run.load(directory)
    assert (run.status, run.result, run.record["seed"]) == ("finished", {"nll": 1.5}, 3)
    assert run.config.model._target_ == "a.b"
    with pytest.raises(Exception, match="read-only"):
        run.config.model = 1


def test_results_are_strict_json(tmp_path):
    recorded(tmp_path)
    assert "NaN" not in (tmp_path / "run.json").read_text()
    assert Run(tmp_path).result == {"loss": None, "nll": 1.5}


def test_running_without_the_lock_is_interrupted(tmp_path):
    with RunWriter(tmp_path) as recorder:
        recorder.start(CONFIG)
    assert read_record(tmp_path)["status"] == "running"
    assert Run(tmp_path).status == "interrupted"


def test_an_interruption_is_recorded(tmp_path):
    def interrupted():
        with RunWriter(tmp_path) as recorder:
            recorder.start(CONFIG)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert read_record(tmp_path)["status"] == "interrupted"


def test_a_second_process_is_refused(tmp_path):
    with RunWriter(tmp_path) as recorder:
        recorder.start(CONFIG)
        with pytest.raises(RunError, match="another process"):
            RunWriter(tmp_path, resume=True)


def test_an_existing_run_is_refused_unless_resumed(tmp_path):
    recorded(tmp_path)
    with pytest.raises(RunError, match="holds a run already"):
        RunWriter(tmp_path)
    with RunWriter(tmp_path, resume=True) as recorder:
        recorder.start(CONFIG)
        recorder.end("finished")
    record = read_record(tmp_path)
    assert len(record["resumed"]) == 1
    assert record["seconds"] >= 0


def test_a_failure_keeps_the_traceback(tmp_path):
    with RunWriter(tmp_path) as recorder:
        recorder.start(CONFIG)
        error = ValueError("no good")
        recorder.failed(error, "no good")
    assert str(tmp_path / "error.txt") in error.__notes__[0]
    assert "ValueError: no good" in (tmp_path / "error.txt").read_text()
    assert (Run(tmp_path).status, Run(tmp_path).record["error"]) == ("failed", "no good")


def test_a_refused_run_leaves_nothing(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with RunWriter(tmp_path) as recorder:
        recorder.start(CONFIG)
        recorder.discard()
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_torn_last_line_is_ignored(tmp_path):
    recorded(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "lr": 0.1}\n{"epoch": 2, "l')
    assert Run(tmp_path).metrics.to_dict("records") == [{"epoch": 1, "lr": 0.1}]


def test_no_metrics_are_an_empty_table(tmp_path):
    assert Run(recorded(tmp_path)).metrics.empty


def test_latest_is_by_start(tmp_path):
    for name in ("n/c", "n/a", "sweep/x/0"):
        recorded(tmp_path / name)
    record = read_record(tmp_path / "n/a")
    (tmp_path / "n/a" / "run.json").write_text(json.dumps({**record, "started": "9999"}))
    assert latest(tmp_path) == tmp_path / "n/a"
    with pytest.raises(RunError, match="no run under"):
        latest(tmp_path / "elsewhere")


def test_jobs_come_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 2, 0):
        recorded(tmp_path / str(number))
    assert [p.name for p in children(tmp_path)] == ["0", "2", "10"]
    with pytest.raises(RunError, match="sweep of 3 runs"):
        find(tmp_path)


FOREIGN = {"list": "[]", "torn": "{", "other": "{}"}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_record_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json"):
        _ = Run(tmp_path).status


def test_users_modules_are_found_where_they_were(tmp_path):
    """Behind all that is installed."""
    before = list(sys.path)
    run = Run(recorded(tmp_path / "run", user_modules=[str(tmp_path), "/nowhere"]))
    with run.user_code():
        assert sys.path == [*before, str(tmp_path)]
    assert sys.path == before
