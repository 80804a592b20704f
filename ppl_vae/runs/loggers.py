"""Trackers beside `metrics.jsonl`: each called with the row of every epoch, imported only when chosen.

A tracker is any callable of rows with `close()`; one with `end(status, result, figures)` is told how the run ended,
before it is closed. A run that is gone on with goes on in the tracker, too: `trackers.json` in its directory says under
which name the tracker knows it, and rows that the tracker has not seen are told from `metrics.jsonl`.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import secrets
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal

from ppl_vae import files
from ppl_vae.errors import PplVaeError, one_of
from ppl_vae.files import seal
from ppl_vae.runs.files import jsonable, write_atomically
from ppl_vae.runs.metrics import rows_of
from ppl_vae.runs.recorder import TRACKERS, read_json
from ppl_vae.runs.run import is_sweep
from ppl_vae.runs.tables import rows_to_csv

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


def noted(directory: Path, tracker: str) -> dict[str, Any]:
    """The words under which a tracker knows a run; empty where it has not seen it."""
    return dict(_told(directory / TRACKERS).get(tracker, {}))


def note(directory: Path, tracker: str, **words: Any) -> None:
    """Keep the words under which a tracker knows a run."""
    told = _told(path := directory / TRACKERS)
    files.folder(directory)
    write_atomically(path, seal.sealed_json({**told, tracker: words}), listed=False)


def _told(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    found: dict[str, dict[str, Any]] = read_json(path, "the names of a run in trackers", dict[str, dict[str, Any]])
    return found


class _InOrder(ABC):
    """Rows in order, each told once: those that came before the first one, too, where the tracker has not seen them."""

    directory: Path
    step: int | None = None

    def __call__(self, row: Row) -> None:
        """Tell the row of an epoch."""
        self._catch_up(row["step"])
        self._once(row)

    def knows(self, step: int) -> bool:
        """True for a step that the tracker was told before this process began."""
        return False

    @abstractmethod
    def tell(self, row: Row) -> None:
        """Tell a row that the tracker has not seen."""

    def _catch_up(self, step: float = math.inf) -> None:
        if self.step is None:
            for row in (r for r in rows_of(self.directory) if r["step"] < step):
                self._once(row)

    def _once(self, row: Row) -> None:
        self.step = int(row["step"])
        if not self.knows(self.step):
            self.tell(row)


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


class CSV(_InOrder):
    """`metrics.csv` in the run directory: a row an epoch, columns in order of appearance, and `result.csv`.

    Args:
        directory: the run directory.
        config: the resolved config, which is in `config.yaml` there already.
    """

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        self.directory = directory
        self.rows: list[Mapping[str, Any]] = []

    def __call__(self, row: Row) -> None:
        """Write the rows so far."""
        super().__call__(row)
        self._write("metrics.csv", self.rows, listed=False)

    def tell(self, row: Row) -> None:
        """Add the row of an epoch."""
        self.rows.append(jsonable(row))

    def end(self, status: Status, result: Mapping[str, Any], figures: Sequence[Path]) -> None:
        """Write the rows and the final results, where there are any."""
        self._catch_up()
        if self.rows:
            self._write("metrics.csv", self.rows)
        if result:
            self._write("result.csv", [{"status": status, **jsonable(result)}])

    def _write(self, name: str, rows: Sequence[Mapping[str, Any]], listed: bool = True) -> None:
        write_atomically(self.directory / name, rows_to_csv(rows), listed=listed)

    def close(self) -> None:
        """Nothing is open."""


class TensorBoard(_InOrder):
    """Event files in `DIR/tensorboard`; a sweep's folder shows all its runs at once, with their hyperparameters.

    A run that is gone on with is written anew from its first epoch, so that no step is there twice.

    Args:
        directory: the run directory.
        config: the resolved config, logged as text.
    """

    WORDS: ClassVar[Mapping[Status, str]] = {
        "finished": "STATUS_SUCCESS",
        "failed": "STATUS_FAILURE",
        "interrupted": "STATUS_RUNNING",
        "pruned": "STATUS_UNKNOWN",  # neither a success nor a failure, and over
    }
    """What its table of hyperparameters calls how a run ended."""

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        _need("tensorboard", "tensorboard")
        self.directory, self.config = directory, flat(config)
        self._opened: Any = None

    @property
    def writer(self) -> Any:
        """The writer of event files, opened when there is something to write."""
        if self._opened is None:
            from torch.utils.tensorboard import SummaryWriter

            folder = self.directory / "tensorboard"
            files.no_way_out(folder / "events")
            for before in folder.glob("events.out.tfevents.*"):
                before.unlink()
            self._opened = SummaryWriter(str(folder))
            self._opened.add_text("config", "\n".join(f"    {k}: {v}" for k, v in self.config.items()))
        return self._opened

    def __call__(self, row: Row) -> None:
        """Log the row of an epoch at its step, for all to see."""
        super().__call__(row)
        self.writer.flush()

    def tell(self, row: Row) -> None:
        """Log the row of an epoch at its step."""
        for key, value in _finite(row).items():
            self.writer.add_scalar(key, value, int(row["step"]))

    def end(self, status: Status, result: Mapping[str, Any], figures: Sequence[Path]) -> None:
        """Write the final results with the hyperparameters and how the run ended, and the figures."""
        self._catch_up()
        step = self.step or 0
        final = {f"final/{k}": v for k, v in _finite(result).items()}
        self.writer.add_text("status", status, step)
        for key, value in final.items():
            self.writer.add_scalar(key, value, step)
        for summary in self._hyperparameters(status, final):
            self.writer.file_writer.add_summary(summary, step)
        for path in (f for f in figures if f.suffix == ".png"):
            from matplotlib.image import imread

            self.writer.add_image(f"figures/{path.stem}", imread(path)[..., :3], step, dataformats="HWC")
        self.writer.flush()

    def _hyperparameters(self, status: Status, final: dict[str, float]) -> list[Any]:
        from tensorboard.plugins.hparams.api_pb2 import Status as Word
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
        from torch.utils.tensorboard.summary import hparams

        told = {k: v for k, v in self.config.items() if not k.startswith(("spec.", "provenance."))}
        experiment, start, end = hparams(told, final)
        told_of_end, place = HParamsPluginData(), end.value[0].metadata.plugin_data
        told_of_end.ParseFromString(place.content)
        told_of_end.session_end_info.status = Word.Value(self.WORDS[status])  # torch says that each succeeded
        place.content = told_of_end.SerializeToString()
        return [experiment, start, end]

    def close(self) -> None:
        """Close the files."""
        if self._opened is not None:
            self._opened.close()


_EXPERIMENT = "MLFLOW_EXPERIMENT_ID"


class MLflow(_InOrder):
    """An MLflow run named after the run directory, and the same one again where a run is gone on with.

    Args:
        directory: the run directory; its parent is the group of a sweep's runs.
        config: the resolved config, logged as parameters.
        experiment: MLflow's name for a group of runs.
        tracking_uri: where MLflow keeps them; None: MLFLOW_TRACKING_URI, else mlflow's default.
    """

    WORDS: ClassVar[Mapping[Status, str]] = {
        "finished": "FINISHED",
        "failed": "FAILED",
        "interrupted": "KILLED",
        "pruned": "KILLED",
    }
    """What MLflow calls how a run ended."""

    def __init__(
        self, directory: Path, config: dict[str, Any], experiment: str = "ppl_vae", tracking_uri: str | None = None
    ) -> None:
        self.directory = directory
        self.mlflow = _need("mlflow", "mlflow-skinny")
        if tracking_uri is not None:
            self.mlflow.set_tracking_uri(tracking_uri)
        outside = os.environ.get(_EXPERIMENT)
        chosen = self.mlflow.set_experiment(experiment)
        if outside is None:  # MLflow leaves it to whatever comes after this run
            os.environ.pop(_EXPERIMENT, None)
        else:
            os.environ[_EXPERIMENT] = outside
        client = self.mlflow.MlflowClient()
        before = self._before(client, chosen.experiment_id)
        if before is None:
            tags = {"group": group(directory), "directory": str(directory)}
            run = self.mlflow.start_run(run_name=directory.name, tags=tags, experiment_id=chosen.experiment_id)
            self.steps: set[int] = set()
        else:
            run = self.mlflow.start_run(run_id=before.info.run_id)
            self.steps = {point.step for point in client.get_metric_history(run.info.run_id, "epoch")}
        note(directory, "mlflow", run=run.info.run_id)
        self.ended: Status = "finished"
        told = {_allowed(k): str(v)[:500] for k, v in flat(config).items()}
        there = {} if before is None else before.data.params
        new = [(k, v) for k, v in told.items() if k not in there]
        for start in range(0, len(new), 100):  # at most so many at once
            self.mlflow.log_params(dict(new[start : start + 100]))
        if changed := {f"resumed/{k}": v for k, v in told.items() if there.get(k, v) != v}:
            self.mlflow.set_tags(changed)  # MLflow changes no parameter

    def _before(self, client: Any, experiment: str) -> Any:
        """The run that MLflow has of this directory; None where there is none that can be gone on with."""
        name = noted(self.directory, "mlflow").get("run")
        if name is None:
            return None
        try:
            run = client.get_run(name)
        except self.mlflow.exceptions.MlflowException as error:
            warnings.warn(f"MLflow does not know the run {name} any more ({error}): it gets a new one", stacklevel=3)
            return None
        there = run.info.lifecycle_stage == "active" and run.info.experiment_id == experiment
        return run if there else None

    def knows(self, step: int) -> bool:
        """True for a step that the MLflow run has."""
        return step in self.steps

    def tell(self, row: Row) -> None:
        """Log the row of an epoch at its step."""
        self.mlflow.log_metrics({_allowed(k): v for k, v in _finite(row).items()}, step=int(row["step"]))

    def end(self, status: Status, result: Mapping[str, Any], figures: Sequence[Path]) -> None:
        """Log the final results and the figures."""
        self.ended = status  # whatever fails from here on
        self._catch_up()
        if final := _finite(result):
            self.mlflow.log_metrics({_allowed(f"final/{k}"): v for k, v in final.items()}, step=self.step or 0)
        for path in figures:
            self.mlflow.log_artifact(str(path), "figures")

    def close(self) -> None:
        """End the run, in MLflow's word for how it ended."""
        self.mlflow.end_run(self.WORDS[self.ended])


def _allowed(name: str) -> str:
    """A name of a metric or parameter as MLflow allows it, whatever sites are called."""
    return re.sub(r"[^\w/.\- :]", "_", name)


class _Like(_InOrder):
    """The common part of Weights & Biases and of trackio, which copies its interface."""

    ended: Status = "finished"

    def __init__(self, library: Any, directory: Path, config: dict[str, Any], **options: Any) -> None:
        self.library, self.directory = library, directory
        self.run = library.init(group=group(directory), config=config, **options)

    def tell(self, row: Row) -> None:
        """Log the row of an epoch at its step."""
        self.library.log(_finite(row), step=int(row["step"]))

    def end(self, status: Status, result: Mapping[str, Any], figures: Sequence[Path]) -> None:
        """Log how the run ended, the final results and the figures, at its last step."""
        self.ended = status  # whatever fails from here on
        self._catch_up()
        drawn = {f"figures/{f.stem}": self.library.Image(str(f)) for f in figures if f.suffix == ".png"}
        final = {f"final/{k}": v for k, v in _finite(result).items()}
        self.library.log({"status": status, **final, **drawn}, step=self._last())

    def _last(self) -> int:
        return self.step or 0

    def close(self) -> None:
        """End the run."""
        self.library.finish()


class WandB(_Like):
    """A Weights & Biases run; its own files go into the run directory. One that is gone on with is the same again.

    Args:
        directory: the run directory; its parent is the group of a sweep's runs.
        config: the resolved config.
        project: of Weights & Biases.
        mode: online, offline or disabled.
    """

    CODES: ClassVar[Mapping[Status, int]] = {"finished": 0, "pruned": 0, "failed": 1, "interrupted": 130}
    """The exit code of the command, by how a run ended: any but 0 is a failure to W&B."""

    def __init__(
        self,
        directory: Path,
        config: dict[str, Any],
        project: str = "ppl_vae",
        mode: Literal["online", "offline", "disabled"] | None = None,
    ) -> None:
        library = _need("wandb", "wandb")
        name = noted(directory, "wandb").get("run") or secrets.token_hex(4)
        note(directory, "wandb", run=name)
        options = {"project": project, "dir": str(directory)} | ({"mode": mode} if mode else {})
        super().__init__(library, directory, config, name=directory.name, id=name, resume="allow", **options)
        self.first = int(getattr(self.run, "step", 0) or 0)

    def knows(self, step: int) -> bool:
        """True for a step that W&B has been told: it takes none twice."""
        return step < self.first

    def _last(self) -> int:
        return max(self.step or 0, self.first)

    def close(self) -> None:
        """End the run with its exit code."""
        self.library.finish(exit_code=self.CODES[self.ended])


class Trackio(_Like):
    """A trackio run, kept on this machine, and the same one again where a run is gone on with.

    Args:
        directory: the run directory; its parent is the group of a sweep's runs.
        config: the resolved config.
        project: of trackio.
    """

    def __init__(self, directory: Path, config: dict[str, Any], project: str = "ppl_vae") -> None:
        library = _need("trackio", "trackio")
        before = noted(directory, "trackio")
        again = {"name": before["run"], "resume": "must"} if before else {"name": directory.name}
        super().__init__(library, directory, config, project=project, **again)
        self.name = str(getattr(self.run, "name", None) or again["name"])
        self.told = int(before.get("step", -1))
        note(directory, "trackio", run=self.name, step=self.told)

    def knows(self, step: int) -> bool:
        """True for a step that it was told before, as far as that was noted."""
        return step <= self.told

    def tell(self, row: Row) -> None:
        """Log the row of an epoch at its step, and note that."""
        super().tell(row)
        note(self.directory, "trackio", run=self.name, step=int(row["step"]))


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
