"""Trackers: called with the row of every epoch, imported only when chosen."""

import contextlib
import sys
from types import ModuleType, SimpleNamespace

import pytest

from ppl_vae.errors import ArgumentError, PplVaeError
from ppl_vae.runs import loggers
from ppl_vae.runs.loggers import Trackers

ROW = {"epoch": 1, "step": 10, "validation/bound": -2.5, "lr": float("nan")}
CONFIG = {"model": {"latent_dim": 2, "hidden": [4]}, "seed": 0}


@pytest.fixture
def fake(monkeypatch):
    """A module that notes what is called."""

    def make(name):
        calls = []
        module = ModuleType(name)

        def note(function):
            return lambda *a, **k: calls.append((function, a, k))

        for function in ("init", "log", "finish", "set_experiment", "set_tracking_uri", "start_run", "end_run"):
            setattr(module, function, note(function))
        for function in ("log_params", "log_metrics", "log_artifact"):
            setattr(module, function, note(function))
        monkeypatch.setitem(sys.modules, name, module)
        return calls

    return make


@pytest.mark.parametrize(("name", "kind"), [("wandb", loggers.WandB), ("trackio", loggers.Trackio)])
def test_wandb_and_its_like(fake, tmp_path, name, kind):
    calls = fake(name)
    tracker = kind(tmp_path / "sweep" / "0", CONFIG)
    tracker(ROW)
    tracker.end("finished", {"test/nll": 3.0}, [])
    tracker.close()
    assert [c[0] for c in calls] == ["init", "log", "log", "finish"]
    assert calls[2][1:] == (({"final/test/nll": 3.0},), {"step": 10})
    assert calls[0][2]["group"] == "sweep"
    assert calls[0][2]["config"] == CONFIG
    assert calls[1][1] == ({"epoch": 1.0, "step": 10.0, "validation/bound": -2.5},)
    assert calls[1][2] == {"step": 10}


def test_mlflow(fake, tmp_path):
    calls = fake("mlflow")
    tracker = loggers.MLflow(tmp_path, CONFIG, tracking_uri="here")
    tracker(ROW)
    tracker.close()
    assert [c[0] for c in calls][-3:] == ["log_params", "log_metrics", "end_run"]
    assert calls[-3][1][0]["model.latent_dim"] == "2"


ENDS = {"FINISHED": None, "FAILED": ValueError("no"), "KILLED": KeyboardInterrupt()}


@pytest.mark.parametrize(("word", "error"), ENDS.items(), ids=ENDS)
def test_mlflow_is_told_how_a_run_ended(fake, tmp_path, word, error):
    calls = fake("mlflow")
    with contextlib.suppress(ValueError, KeyboardInterrupt), Trackers(loggers.MLflow(tmp_path, CONFIG)) as told:
        if error is not None:
            raise error
        told.result, told.figures = {"test/nll": 3.0, "files": {}}, [tmp_path / "a.png"]
    assert calls[-1][:2] == ("end_run", (word,))
    final = [c[1][0] for c in calls if c[0] == "log_metrics"]
    assert final == ([{"final/test/nll": 3.0}] if error is None else [])
    assert ("log_artifact" in [c[0] for c in calls]) == (error is None)


def test_a_tracker_that_fails_at_the_end_stops_no_other_and_no_run(tmp_path):
    class Broken:
        def close(self):
            raise OSError("no room")

    csv = loggers.CSV(tmp_path, CONFIG)
    with pytest.warns(UserWarning, match="Broken at the end of the run: no room"), Trackers(Broken(), csv) as told:
        told.result = {"test/nll": 3.0}
    assert (tmp_path / "result.csv").read_text() == "status,test/nll\nfinished,3.0\n"


def test_csv_rows_are_replaced_where_a_resumed_run_makes_them_again(tmp_path):
    first = loggers.CSV(tmp_path, CONFIG)
    first(ROW)
    first({**ROW, "epoch": 2, "step": 20})
    loggers.CSV(tmp_path, CONFIG)({**ROW, "epoch": 2, "step": 20, "lr": 0.5})
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines == ["epoch,step,validation/bound,lr", "1,10,-2.5,", "2,20,-2.5,0.5"]


def test_several_at_once_with_options_of_each(fake, tmp_path):
    calls = fake("mlflow")
    several = loggers.Several(tmp_path, CONFIG, ["csv", "mlflow"], {"mlflow": {"experiment": "digits"}})
    with Trackers(several):
        several(ROW)
    assert ("set_experiment", ("digits",), {}) in calls
    assert calls[-1][:2] == ("end_run", ("FINISHED",))
    assert (tmp_path / "metrics.csv").exists()
    with pytest.raises(ArgumentError, match="expected one of csv"):
        loggers.Several(tmp_path, CONFIG, ["tensorbord"])


def test_the_group_of_a_run_is_its_sweep(fake, tmp_path):
    (tmp_path / "sweep.json").write_text("{}")
    calls = fake("wandb")
    loggers.WandB(tmp_path / "seed=0" / "0", CONFIG)
    assert calls[0][2]["group"] == tmp_path.name


def test_tensorboard(monkeypatch, tmp_path):
    calls = []
    writer = SimpleNamespace(
        add_text=lambda *a: calls.append(a),
        add_scalar=lambda *a: calls.append(a),
        add_hparams=lambda *a, **k: calls.append(a),
        flush=lambda: None,
        close=lambda: None,
    )
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = lambda path: writer
    monkeypatch.setitem(sys.modules, "tensorboard", ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    tracker = loggers.TensorBoard(tmp_path, CONFIG)
    tracker(ROW)
    tracker.end("finished", {"test/nll": 3.0}, [])
    tracker.close()
    assert ("validation/bound", -2.5, 10) in calls
    assert ({"model.latent_dim": 2, "model.hidden": "[4]", "seed": 0}, {"final/test/nll": 3.0}) in calls


@pytest.mark.parametrize("kind", [loggers.WandB, loggers.Trackio, loggers.MLflow, loggers.TensorBoard])
def test_what_is_not_installed_is_named_with_its_command(monkeypatch, tmp_path, kind):
    for name in ("wandb", "trackio", "mlflow", "tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PplVaeError, match="pip install"):
        kind(tmp_path, CONFIG)
