"""Trackers beside `metrics.jsonl`: each called with the row of every epoch, imported only when chosen."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ppl_vae.errors import PplVaeError

Row = Mapping[str, float]


def _need(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise PplVaeError(
            f"this logger needs {package}, which is not installed: pip install {package} "
            "(metrics.jsonl in the run directory has every figure without it)"
        ) from None


def _finite(row: Row) -> dict[str, float]:
    return {k: float(v) for k, v in row.items() if isinstance(v, (int, float)) and math.isfinite(v)}


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config as one dict of dotted keys."""
    dotted: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            dotted |= flat(value, f"{prefix}{key}.")
        else:
            dotted[f"{prefix}{key}"] = value if isinstance(value, (int, float, str)) else str(value)
    return dotted


class TensorBoard:
    """Event files in `DIR/tensorboard`; a sweep's folder shows all its runs at once.

    Args:
        directory: the run directory.
        config: the resolved config, logged as text.
    """

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        _need("tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(directory / "tensorboard"))
        self.writer.add_text("config", "\n".join(f"    {k}: {v}" for k, v in flat(config).items()))

    def __call__(self, row: Row) -> None:
        """Log the row of an epoch at its step."""
        for key, value in _finite(row).items():
            self.writer.add_scalar(key, value, int(row["step"]))
        self.writer.flush()

    def close(self) -> None:
        """Close the files."""
        self.writer.close()


class MLflow:
    """An MLflow run named after the run directory.

    Args:
        directory: the run directory; its parent is the group of a sweep's runs.
        config: the resolved config, logged as parameters.
        experiment: MLflow's name for a group of runs.
        tracking_uri: where MLflow keeps them; None: MLFLOW_TRACKING_URI, else mlflow's default.
    """

    def __init__(
        self, directory: Path, config: dict[str, Any], experiment: str = "ppl_vae", tracking_uri: str | None = None
    ) -> None:
        self.mlflow = _need("mlflow", "mlflow-skinny")
        if tracking_uri is not None:
            self.mlflow.set_tracking_uri(tracking_uri)
        self.mlflow.set_experiment(experiment)
        self.mlflow.start_run(
            run_name=directory.name, tags={"group": directory.parent.name, "directory": str(directory)}
        )
        self.mlflow.log_params({k: str(v)[:500] for k, v in flat(config).items()})

    def __call__(self, row: Row) -> None:
        """Log the row of an epoch at its step."""
        self.mlflow.log_metrics(_finite(row), step=int(row["step"]))

    def close(self) -> None:
        """End the run."""
        self.mlflow.end_run()


class _Like:
    """The common part of Weights & Biases and of trackio, which copies its interface."""

    def __init__(self, library: Any, directory: Path, config: dict[str, Any], **options: Any) -> None:
        self.library = library
        library.init(name=directory.name, group=directory.parent.name, config=config, **options)

    def __call__(self, row: Row) -> None:
        """Log the row of an epoch at its step."""
        self.library.log(_finite(row), step=int(row["step"]))

    def close(self) -> None:
        """End the run."""
        self.library.finish()


class WandB(_Like):
    """A Weights & Biases run; its own files go into the run directory.

    Args:
        directory: the run directory; its parent is the group of a sweep's runs.
        config: the resolved config.
        project: of Weights & Biases.
        mode: online, offline or disabled.
    """

    def __init__(
        self,
        directory: Path,
        config: dict[str, Any],
        project: str = "ppl_vae",
        mode: Literal["online", "offline", "disabled"] | None = None,
    ) -> None:
        options = {"project": project, "dir": str(directory)} | ({"mode": mode} if mode else {})
        super().__init__(_need("wandb", "wandb"), directory, config, **options)


class Trackio(_Like):
    """A trackio run, kept on this machine.

    Args:
        directory: the run directory; its parent is the group of a sweep's runs.
        config: the resolved config.
        project: of trackio.
    """

    def __init__(self, directory: Path, config: dict[str, Any], project: str = "ppl_vae") -> None:
        super().__init__(_need("trackio", "trackio"), directory, config, project=project)
