"""Trackers beside `metrics.jsonl`: each called with the row of every epoch, imported only when chosen.

A tracker is any callable of rows with `close()`; one with `end(status, result, figures)` is told how the run ended,
before it is closed.
"""

from __future__ import annotations

import csv
import importlib
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from ppl_vae.errors import PplVaeError, one_of
from ppl_vae.runs.files import jsonable, write_atomically
from ppl_vae.runs.run import is_sweep

Row = Mapping[str, float]
Status = Literal["finished", "failed", "interrupted", "pruned"]


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


def group(directory: Path) -> str:
    """The name of what a run belongs to: its sweep, at whatever depth, or the folder that it lies in."""
    return next((p.name for p in list(directory.parents)[:4] if is_sweep(p)), directory.parent.name)


class Trackers:
    """The trackers of one run, as a context: each is told how the run ended, then closed, whatever another one does.

    Args:
        trackers: callables of rows.

    Attributes:
        status: how the run has ended, where no error tells.
        result: what the run has ended with, once it has.
        figures: the files that were drawn.
    """

    def __init__(self, *trackers: Any) -> None:
        self.trackers = [one for t in trackers for one in (t.trackers if isinstance(t, Several) else (t,))]
        self.status: Status = "finished"
        self.result: Mapping[str, Any] = {}
        self.figures: Sequence[Path] = ()

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        status = self.status
        if error is not None:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        for tracker in self.trackers:
            steps: list[Callable[[], None]] = [tracker.close]
            if hasattr(tracker, "end"):
                steps.insert(0, partial(tracker.end, status, self.result, self.figures))
            for step in steps:
                try:
                    step()
                except Exception as fault:  # the run is what it is
                    warnings.warn(f"{type(tracker).__name__} at the end of the run: {fault}", stacklevel=2)


class CSV:
    """`metrics.csv` in the run directory: a row an epoch, columns in order of appearance, and `result.csv`.

    Args:
        directory: the run directory.
        config: the resolved config, which is in `config.yaml` there already.
    """

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        self.directory = directory
        self.rows: list[Mapping[str, Any]] = []
        path = directory / "metrics.csv"
        if path.exists():  # of a run that is gone on with
            self.rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))

    def __call__(self, row: Row) -> None:
        """Add the row of an epoch, in place of one of the same epoch and later ones that a resumed run makes again."""
        self.rows = [r for r in self.rows if float(r["step"]) < row["step"]] + [jsonable(row)]
        self._write("metrics.csv", self.rows)

    def end(self, status: Status, result: Mapping[str, Any], figures: Sequence[Path]) -> None:
        """Write the final results, where there are any."""
        if result:
            self._write("result.csv", [{"status": status, **jsonable(result)}])

    def _write(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(dict.fromkeys(k for r in rows for k in r)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.directory / name, text.getvalue())

    def close(self) -> None:
        """Nothing is open."""


class TensorBoard:
    """Event files in `DIR/tensorboard`; a sweep's folder shows all its runs at once, with their hyperparameters.

    Args:
        directory: the run directory.
        config: the resolved config, logged as text.
    """

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        _need("tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        told = {k: v for k, v in flat(config).items() if not k.startswith(("spec.", "provenance."))}
        self.hyperparameters = told
        self.writer = SummaryWriter(str(directory / "tensorboard"))
        self.writer.add_text("config", "\n".join(f"    {k}: {v}" for k, v in flat(config).items()))

    def __call__(self, row: Row) -> None:
        """Log the row of an epoch at its step."""
        for key, value in _finite(row).items():
            self.writer.add_scalar(key, value, int(row["step"]))
        self.writer.flush()

    def end(self, status: Status, result: Mapping[str, Any], figures: Sequence[Path]) -> None:
        """Write the hyperparameters with the final results, and the figures."""
        final = {f"final/{k}": v for k, v in _finite(result).items()}
        self.writer.add_text("status", status)
        self.writer.add_hparams(self.hyperparameters, final, run_name=".")  # into the same folder, not a run of its own
        for path in (f for f in figures if f.suffix == ".png"):
            from matplotlib.image import imread

            self.writer.add_image(f"figures/{path.stem}", imread(path)[..., :3], dataformats="HWC")
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
        self.mlflow.start_run(run_name=directory.name, tags={"group": group(directory), "directory": str(directory)})
        self.status = "FINISHED"
        self.mlflow.log_params({k: str(v)[:500] for k, v in flat(config).items()})

    def __call__(self, row: Row) -> None:
        """Log the row of an epoch at its step."""
        self.mlflow.log_metrics(_finite(row), step=int(row["step"]))

    def end(self, status: Status, result: Mapping[str, Any], figures: Sequence[Path]) -> None:
        """Log the final results and the figures; MLflow's words for a failed and an interrupted run."""
        self.status = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "pruned": "KILLED"}[status]
        if final := _finite(result):
            self.mlflow.log_metrics({f"final/{k}": v for k, v in final.items()})
        for path in figures:
            self.mlflow.log_artifact(str(path), "figures")

    def close(self) -> None:
        """End the run."""
        self.mlflow.end_run(self.status)


class _Like:
    """The common part of Weights & Biases and of trackio, which copies its interface."""

    def __init__(self, library: Any, directory: Path, config: dict[str, Any], **options: Any) -> None:
        self.library, self.step = library, 0
        library.init(name=directory.name, group=group(directory), config=config, **options)

    def __call__(self, row: Row) -> None:
        """Log the row of an epoch at its step."""
        self.step = int(row["step"])
        self.library.log(_finite(row), step=self.step)

    def end(self, status: Status, result: Mapping[str, Any], figures: Sequence[Path]) -> None:
        """Log the final results."""
        if final := _finite(result):
            self.library.log({f"final/{k}": v for k, v in final.items()}, step=self.step)

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


BY_NAME: dict[str, type] = {
    "csv": CSV,
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
    "trackio": Trackio,
}


class Several:
    """Several trackers at once: `logger=[csv,tensorboard]`.

    Args:
        directory: the run directory.
        config: the resolved config.
        names: of the trackers.
        options: of each by its name: `logger.options={mlflow:{experiment:digits}}`.

    Raises:
        ArgumentError: for a name that is no tracker's.
    """

    def __init__(
        self,
        directory: Path,
        config: dict[str, Any],
        names: list[str],
        options: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        told = dict(options or {})
        for name in (*names, *told):
            one_of("logger", name, BY_NAME)
        self.trackers: list[Any] = [BY_NAME[name](directory, config, **told.get(name, {})) for name in names]

    def __call__(self, row: Row) -> None:
        """Hand the row of an epoch to each."""
        for tracker in self.trackers:
            tracker(row)

    def close(self) -> None:
        """Close each."""
        for tracker in self.trackers:
            tracker.close()
