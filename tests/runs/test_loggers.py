"""Trackers: called with the row of every epoch, imported only when chosen, told how the run ended, gone on with."""

import contextlib
import json
import sys
from types import ModuleType, SimpleNamespace
from typing import get_args
from unittest.mock import MagicMock

import numpy as np
import pytest

from ppl_vae.errors import ArgumentError, PplVaeError
from ppl_vae.runs import loggers
from ppl_vae.runs.loggers import BY_NAME, Status, Trackers
from ppl_vae.runs.recorder import METRICS

ROW = {"epoch": 1, "step": 10, "validation/bound": -2.5, "lr": float("nan")}
CONFIG = {"model": {"latent_dim": 2, "hidden": [4]}, "seed": 0, "spec": {"size": 3}}
RESULT = {"test/nll": 3.0, "test/se": float("nan"), "files": {}}


def rows(count):
    return [{"epoch": n, "step": 10 * n, "validation/bound": -10.0 / n, "kl/z[0]'s": 0.5} for n in range(1, count + 1)]


def write(directory, lines):
    """`metrics.jsonl`, which `fit` writes before it calls a tracker."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / METRICS).write_text("".join(json.dumps(row) + "\n" for row in lines))


def train(tracker_of, directory, last, *, first=1, killed=False):
    """Epochs of a run as its tracker sees them; a killed process closes nothing."""
    tracker = tracker_of()
    for n in range(first, last + 1):
        write(directory, rows(n))
        tracker(rows(n)[-1])
    if not killed:
        tracker.end("finished", RESULT, [])
        tracker.close()
    return tracker


@pytest.fixture
def fake(monkeypatch):
    """A module that notes what is called, with the interface of W&B and of trackio."""

    def make(name, step=0):
        calls = []
        module = ModuleType(name)

        def note(function, returned=None):
            return lambda *a, **k: calls.append((function, a, k)) or returned

        module.init = note("init", SimpleNamespace(step=step, name="0"))
        for function in ("log", "finish"):
            setattr(module, function, note(function))
        module.Image = lambda path: ("image", path)
        monkeypatch.setitem(sys.modules, name, module)
        return calls

    return make


LIKE = [("wandb", loggers.WandB), ("trackio", loggers.Trackio)]


@pytest.mark.parametrize(("name", "kind"), LIKE)
def test_wandb_and_its_like(fake, tmp_path, name, kind):
    calls = fake(name)
    tracker = kind(tmp_path / "sweep" / "0", CONFIG)
    tracker(ROW)
    tracker.end("finished", RESULT, [tmp_path / "a.png", tmp_path / "a.pdf"])
    tracker.close()
    assert [c[0] for c in calls] == ["init", "log", "log", "finish"]
    final = {"status": "finished", "final/test/nll": 3.0, "figures/a": ("image", str(tmp_path / "a.png"))}
    assert calls[2][1:] == ((final,), {"step": 10})
    assert calls[0][2]["group"] == "sweep"
    assert calls[0][2]["name"] == "0"
    assert calls[0][2]["config"] == CONFIG
    assert calls[1][1:] == (({"epoch": 1.0, "step": 10.0, "validation/bound": -2.5},), {"step": 10})


@pytest.mark.parametrize(("status", "code"), [("finished", 0), ("pruned", 0), ("failed", 1), ("interrupted", 130)])
def test_wandb_is_told_how_a_run_ended(fake, tmp_path, status, code):
    calls = fake("wandb")
    tracker = loggers.WandB(tmp_path, CONFIG)
    tracker.end(status, {}, [])
    tracker.close()
    assert calls[-1] == ("finish", (), {"exit_code": code})
    assert calls[-2][1][0] == {"status": status}


def test_a_run_that_failed_is_a_failure_where_its_last_figures_could_not_be_told(fake, tmp_path):
    calls = fake("wandb")
    tracker = loggers.WandB(tmp_path, CONFIG)
    sys.modules["wandb"].log = None  # no network any more
    warned = pytest.warns(UserWarning, match="WandB at the end of the run")
    with warned, contextlib.suppress(ValueError), Trackers(tracker):
        raise ValueError("no")
    assert calls[-1] == ("finish", (), {"exit_code": 1})


@pytest.mark.parametrize(("name", "kind"), LIKE)
def test_a_run_that_is_gone_on_with_is_the_same_run_and_no_step_is_told_twice(fake, tmp_path, name, kind):
    directory = tmp_path / "0"
    first = fake(name)
    train(lambda: kind(directory, CONFIG), directory, 3, killed=True)
    second = fake(name, step=31)
    train(lambda: kind(directory, CONFIG), directory, 5, first=3)  # the third epoch is made again
    steps = [c[2]["step"] for c in (*first, *second) if c[0] == "log" and "epoch" in c[1][0]]
    assert steps == [10, 20, 30, 40, 50]
    told = [calls[0][2] for calls in (first, second)]
    if name == "wandb":
        assert told[0]["id"] == told[1]["id"]
        assert told[1]["resume"] == "allow"
    else:
        assert "resume" not in told[0]
        assert (told[1]["name"], told[1]["resume"]) == ("0", "must")


@pytest.mark.parametrize(("name", "kind"), LIKE)
def test_a_tracker_that_is_new_to_a_run_is_told_its_earlier_epochs(fake, tmp_path, name, kind):
    calls = fake(name)
    train(lambda: kind(tmp_path, CONFIG), tmp_path, 4, first=3)
    assert [c[2]["step"] for c in calls if c[0] == "log" and "epoch" in c[1][0]] == [10, 20, 30, 40]


def test_the_group_of_a_run_is_its_sweep(fake, tmp_path):
    (tmp_path / "sweep.json").write_text("{}")
    calls = fake("wandb")
    loggers.WandB(tmp_path / "seed=0" / "0", CONFIG)
    assert calls[0][2]["group"] == tmp_path.name


# --- MLflow itself -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of MLflow's; making one takes seconds."""
    pytest.importorskip("mlflow")
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def mlflow(store, monkeypatch, tmp_path):
    """What MLflow has, by its own client: `mlflow("0")` is the one run of that name."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(tmp_path)  # artifacts
    mlflow.set_tracking_uri(store)

    def look(experiment):
        client = mlflow.MlflowClient()
        found = client.get_experiment_by_name(experiment)
        runs = client.search_runs([found.experiment_id])
        return client, runs

    yield look
    while mlflow.active_run():
        mlflow.end_run()


def history(client, run, name):
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def quiet(test):
    """MLflow's own store warns of what it uses itself."""
    for kind in ("DeprecationWarning", "FutureWarning", "ResourceWarning"):
        test = pytest.mark.filterwarnings(f"ignore::{kind}")(test)
    return pytest.mark.slow(test)


ENDS = {"finished": None, "failed": ValueError("no"), "interrupted": KeyboardInterrupt(), "pruned": None}


@quiet
@pytest.mark.parametrize(("status", "error"), ENDS.items(), ids=ENDS)
def test_mlflow_has_the_run_and_how_it_ended(mlflow, tmp_path, status, error):
    directory = tmp_path / "sweep" / "0"
    (tmp_path / "a.png").write_bytes(b"picture")
    tracker = loggers.MLflow(directory, CONFIG, experiment=status)
    with contextlib.suppress(ValueError, KeyboardInterrupt), Trackers(tracker) as told:
        for row in rows(2):
            tracker(row)
        if error is not None:
            raise error
        told.result, told.figures = RESULT, [tmp_path / "a.png"]
        told.status = status
    client, (run,) = mlflow(status)
    words = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "pruned": "KILLED"}
    assert run.info.status == words[status]
    assert (run.info.run_name, run.data.tags["group"]) == ("0", "sweep")
    assert run.data.params == {"model.latent_dim": "2", "model.hidden": "[4]", "seed": "0", "spec.size": "3"}
    assert history(client, run, "validation/bound") == [(10, -10.0), (20, -5.0)]
    assert history(client, run, "kl/z_0__s") == [(10, 0.5), (20, 0.5)]
    assert history(client, run, "final/test/nll") == ([(20, 3.0)] if error is None else [])
    figures = [f.path for f in client.list_artifacts(run.info.run_id, "figures")]
    assert figures == (["figures/a.png"] if error is None else [])


@quiet
def test_an_mlflow_run_that_is_gone_on_with_is_the_same_and_has_every_epoch_once(mlflow, tmp_path):
    """Killed after any epoch, before or after the tracker was told of it; more epochs than were asked for."""
    import mlflow as library

    many = {f"k{n}": n for n in range(230)}  # more than MLflow takes at once
    for case, (last, known) in enumerate([(3, 3), (3, 2), (1, 0), (4, 4)]):
        directory, experiment = tmp_path / str(case), f"killed {case}"
        train(lambda d=directory, e=experiment: loggers.MLflow(d, CONFIG | many, e), directory, known, killed=True)
        while library.active_run():
            library.end_run("RUNNING")  # as a killed process leaves it
        write(directory, rows(last))
        longer = CONFIG | many | {"seed": 1}
        train(lambda d=directory, e=experiment, c=longer: loggers.MLflow(d, c, e), directory, 5, first=last + 1)
        client, (run,) = mlflow(experiment)
        assert run.info.status == "FINISHED"
        assert [step for step, _ in history(client, run, "epoch")] == [10, 20, 30, 40, 50]
        assert run.data.params["seed"] == "0"
        assert run.data.tags["resumed/seed"] == "1"
        assert len(run.data.params) == 234
    (tmp_path / "0" / "trackers.json").write_text(json.dumps({"mlflow": {"run": "0" * 32}}))
    with pytest.warns(UserWarning, match="it gets a new one"):
        train(lambda: loggers.MLflow(tmp_path / "0", CONFIG, "killed 0"), tmp_path / "0", 5, first=5)
    client, runs = mlflow("killed 0")
    assert [len(history(client, run, "epoch")) for run in runs] == [5, 5]


# --- TensorBoard itself ------------------------------------------------------------------------------------------


def events(directory):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    guidance = dict.fromkeys(("scalars", "images", "tensors"), 0)
    found = accumulator.EventAccumulator(str(directory / "tensorboard"), size_guidance=guidance)
    found.Reload()
    return found


def text(found, tag):
    return found.Tensors(f"{tag}/text_summary")[-1].tensor_proto.string_val[0].decode()


def session(found, name):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    data = HParamsPluginData()
    data.ParseFromString(found.SummaryMetadata(f"_hparams_/{name}").plugin_data.content)
    return getattr(data, name)


@pytest.mark.slow
@pytest.mark.parametrize(("word", "error"), ENDS.items(), ids=ENDS)
def test_tensorboard_has_the_run_and_how_it_ended(tmp_path, word, error):
    pytest.importorskip("tensorboard")
    from matplotlib.image import imsave
    from tensorboard.plugins.hparams.api_pb2 import Status as Word

    imsave(tmp_path / "a.png", np.zeros((4, 6, 3)))
    tracker = loggers.TensorBoard(tmp_path, CONFIG)
    with contextlib.suppress(ValueError, KeyboardInterrupt), Trackers(tracker) as told:
        for row in rows(2):
            tracker(row)
        if error is not None:
            raise error
        told.result, told.figures, told.status = RESULT, [tmp_path / "a.png"], word
    found = events(tmp_path)
    assert [(e.step, e.value) for e in found.Scalars("validation/bound")] == [(10, -10.0), (20, -5.0)]
    assert "model.latent_dim: 2" in text(found, "config")
    assert text(found, "status") == word
    told = session(found, "session_start_info").hparams
    assert told["model.latent_dim"].number_value == 2
    assert told["model.hidden"].string_value == "[4]"
    assert set(told) == {"model.latent_dim", "model.hidden", "seed"}
    assert Word.Name(session(found, "session_end_info").status) == {
        "finished": "STATUS_SUCCESS",
        "failed": "STATUS_FAILURE",
        "interrupted": "STATUS_RUNNING",
        "pruned": "STATUS_UNKNOWN",
    }.get(word)
    if error is None:
        assert [(e.step, e.value) for e in found.Scalars("final/test/nll")] == [(20, 3.0)]
        (image,) = found.Images("figures/a")
        assert (image.step, image.width, image.height) == (20, 6, 4)
        (metric,) = session(found, "experiment").metric_infos
        assert metric.name.tag == "final/test/nll"
    else:
        assert not [tag for tag in found.Tags()["scalars"] if tag.startswith("final")]
        assert not found.Tags()["images"]


@pytest.mark.slow
def test_event_files_of_a_run_that_is_gone_on_with_have_every_epoch_once(tmp_path):
    """Killed after any epoch, before or after the tracker was told of it; then again."""
    pytest.importorskip("tensorboard")
    for case, (last, known) in enumerate([(3, 3), (3, 2), (1, 0), (4, 4)]):
        directory = tmp_path / str(case)
        for _ in range(2):
            tracker = train(lambda d=directory: loggers.TensorBoard(d, CONFIG), directory, known, killed=True)
            tracker.close()  # the process is gone, and its files with what was flushed are there
            write(directory, rows(last))
        train(lambda d=directory: loggers.TensorBoard(d, CONFIG), directory, 5, first=last + 1)
        found = events(directory)
        for tag in ("epoch", "validation/bound"):
            assert [e.step for e in found.Scalars(tag)] == [10, 20, 30, 40, 50]
        assert len(found.Scalars("final/test/nll")) == 1
        assert text(found, "status") == "finished"


def test_nothing_is_written_for_a_run_that_never_was(tmp_path):
    pytest.importorskip("tensorboard")
    loggers.TensorBoard(tmp_path, CONFIG).close()
    assert list(tmp_path.iterdir()) == []


# --- all of them -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_NAME)
def test_every_tracker_has_a_word_for_every_end(fake, monkeypatch, tmp_path, name):
    if name == "tensorboard":
        pytest.importorskip("tensorboard")
    fake("wandb")
    fake("trackio")
    mlflow = MagicMock()
    mlflow.start_run.return_value.info.run_id = "0"
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    for status in get_args(Status):
        write(tmp_path / status, rows(1))
        tracker = BY_NAME[name](tmp_path / status, CONFIG)
        tracker.end(status, RESULT, [])
        tracker.close()


def test_a_tracker_that_fails_at_the_end_stops_no_other_and_no_run(tmp_path):
    class Broken:
        def close(self):
            raise OSError("no room")

    csv = loggers.CSV(tmp_path, CONFIG)
    with pytest.warns(UserWarning, match="Broken at the end of the run: no room"), Trackers(Broken(), csv) as told:
        told.result = {"test/nll": 3.0}
    assert (tmp_path / "result.csv").read_text() == "status,test/nll\nfinished,3.0\n"


def test_csv_has_the_rows_of_a_run_that_was_gone_on_with(tmp_path):
    first = loggers.CSV(tmp_path, CONFIG)
    lines = [{**ROW, "lr": None}, {**ROW, "lr": None, "epoch": 2, "step": 20}]
    write(tmp_path, lines)
    first(ROW)
    first({**ROW, "epoch": 2, "step": 20})
    write(tmp_path, [lines[0], {**lines[1], "lr": 0.5}])  # the second epoch is made again
    loggers.CSV(tmp_path, CONFIG)({**ROW, "epoch": 2, "step": 20, "lr": 0.5})
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "epoch,step,validation/bound,lr",
        "1,10,-2.5,",
        "2,20,-2.5,0.5",
    ]


def test_several_at_once_with_options_of_each(fake, tmp_path):
    calls = fake("trackio")
    several = loggers.Several(tmp_path, CONFIG, ["csv", "trackio"], {"trackio": {"project": "digits"}})
    with Trackers(several):
        several(ROW)
    assert calls[0][2]["project"] == "digits"
    assert calls[-1][0] == "finish"
    assert (tmp_path / "metrics.csv").exists()
    with pytest.raises(ArgumentError, match="expected one of csv"):
        loggers.Several(tmp_path, CONFIG, ["tensorbord"])


@pytest.mark.parametrize("kind", [loggers.WandB, loggers.Trackio, loggers.MLflow, loggers.TensorBoard])
def test_what_is_not_installed_is_named_with_its_command(monkeypatch, tmp_path, kind):
    for name in ("wandb", "trackio", "mlflow", "tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PplVaeError, match="pip install"):
        kind(tmp_path, CONFIG)
    assert list(tmp_path.iterdir()) == []
