"""Trackers: called with the row of every epoch, imported only when chosen."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from ppl_vae.errors import PplVaeError
from ppl_vae.runs import loggers

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
        for function in ("log_params", "log_metrics"):
            setattr(module, function, note(function))
        monkeypatch.setitem(sys.modules, name, module)
        return calls

    return make


@pytest.mark.parametrize(("name", "kind"), [("wandb", loggers.WandB), ("trackio", loggers.Trackio)])
def test_wandb_and_its_like(fake, tmp_path, name, kind):
    calls = fake(name)
    tracker = kind(tmp_path / "sweep" / "0", CONFIG)
    tracker(ROW)
    tracker.close()
    assert [c[0] for c in calls] == ["init", "log", "finish"]
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


def test_tensorboard(monkeypatch, tmp_path):
    calls = []
    writer = SimpleNamespace(
        add_text=lambda *a: calls.append(a),
        add_scalar=lambda *a: calls.append(a),
        flush=lambda: None,
        close=lambda: None,
    )
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = lambda path: writer
    monkeypatch.setitem(sys.modules, "tensorboard", ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    tracker = loggers.TensorBoard(tmp_path, CONFIG)
    tracker(ROW)
    tracker.close()
    assert ("validation/bound", -2.5, 10) in calls


@pytest.mark.parametrize("kind", [loggers.WandB, loggers.Trackio, loggers.MLflow, loggers.TensorBoard])
def test_what_is_not_installed_is_named_with_its_command(monkeypatch, tmp_path, kind):
    for name in ("wandb", "trackio", "mlflow", "tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PplVaeError, match="pip install"):
        kind(tmp_path, CONFIG)
