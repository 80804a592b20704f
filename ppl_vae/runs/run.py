"""`Run`: a read-only view of a run directory, and how people name one."""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppl_vae import files
from ppl_vae.config.schema import near
from ppl_vae.config.targets import unlisted
from ppl_vae.display import Displayed, View, figures
from ppl_vae.errors import (
    ArgumentError,
    DamagedError,
    PplVaeError,
    RunError,
    UntrustedError,
    UsageError,
    out_of_memory,
)
from ppl_vae.files.manifest import is_listed
from ppl_vae.kinds import shown
from ppl_vae.runs import saved
from ppl_vae.runs.files import whole_path
from ppl_vae.runs.metrics import rows_of
from ppl_vae.runs.recorder import (
    CONFIG,
    LOCK,
    RECORD,
    REFERENCE,
    WEIGHTS,
    read_json,
    read_recipe,
    read_record,
    status_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.core.pair import VAE
    from ppl_vae.datasets import Dataset, Spec


SWEEP = ("sweep.json", "multirun.yaml")
"""What makes a folder that of a sweep: its plan, or Hydra's note of one that has none."""

DEPTH = 4
"""How many folders below a sweep's own its runs may lie (`hydra.sweep.subdir=a/b`)."""


@dataclass(frozen=True, repr=False)
class Run(Displayed):
    """A run directory, read when asked; nothing here writes.

    Args:
        directory: where it is.
        pair: the pair that was trained, where no config can make it anew; it takes the weights of the run.
        trust: build what its config names, although it was not made here, see docs/security.md.

    Example:
        >>> run = Run.load("outputs/vae_digits/2026-11-22_15-00-00_1f2e3d")  # doctest: +SKIP
        >>> run.status, run.result["validation/bound"], run.vae  # doctest: +SKIP
    """

    directory: Path
    pair: VAE | None = field(default=None, repr=False, compare=False)
    trust: bool = field(default=False, repr=False, compare=False)

    @classmethod
    def load(cls, name: str | Path, *, vae: VAE | None = None, trust: bool = False) -> Run:
        """The run in a folder, or the newest one for `"latest"`.

        Args:
            name: the folder.
            vae: for a run of `pv.fit(…, directory=…)`, which has no config to make the pair from: the same pair made
                again, `pv.VAE(model, guide)`. `run.vae` is this object, with the weights of the run.
            trust: of a run that was not made here, build whatever its config names, and import it from the folders that
                it names: read the config first. Without it only what is listed in docs/security.md is built.

        Raises:
            RunError: for a folder that is not a run; a sweep's folder is answered with its runs.
        """
        if not isinstance(name, (str, os.PathLike)):
            raise ArgumentError(f"Got {shown(name)} as a run, expected the path of its folder, or 'latest'.")
        if not isinstance(trust, bool):
            raise ArgumentError(f"Got trust={shown(trust)}, expected True or False.")
        if vae is not None:
            from ppl_vae.core.call import require_pair

            require_pair(vae)
        return cls(find(name), vae, trust)

    @property
    def record(self) -> dict[str, Any]:
        """`run.json`: status, versions, seed, times, result."""
        return read_record(self.directory)

    @property
    def status(self) -> str:
        """`running`, `finished`, `failed`, `interrupted` or `pruned`; running without a process is interrupted."""
        return status_of(self.directory)

    @property
    def result(self) -> dict[str, Any]:
        """The figures that `train` ended with, in nats per datum."""
        return dict(self.record.get("result") or {})

    @cached_property
    def saved(self) -> saved.Saved:
        """`config.yaml` as data, and whether it was made here."""
        path, record = self.directory / CONFIG, self.record  # a damaged record is told of, whatever is asked for
        if not path.exists() and record.get("verb") == "fit":
            raise RunError(
                f"{self.directory} is a run of pv.fit, which has no {CONFIG} to make its pair and data from. In "
                "Python, give the pair: Run.load(directory, vae=pv.VAE(model, guide)); data are given to each function."
            )
        found = saved.read(self.directory, record)
        if "model" not in found.values or "guide" not in found.values:
            raise RunError(f"{path} describes no pair; expected the config that `train` wrote")
        return found

    @property
    def trusted(self) -> bool:
        """True for a run that was made here, or that was loaded with trust: its own classes are built."""
        return self.trust or not self.saved.why

    @cached_property
    def config(self) -> DictConfig:
        """`config.yaml`, read-only: as it was resolved when it was written; no reference in it is followed."""
        try:
            config = OmegaConf.create(self.plain_config)
        except OmegaConfBaseException as error:
            raise RunError(f"{self.directory / CONFIG} cannot be read ({error})") from None
        OmegaConf.set_readonly(config, True)
        return config

    @property
    def plain_config(self) -> dict[str, Any]:
        """The config as dicts and lists."""
        return copy.deepcopy(self.saved.values)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """`metrics.jsonl`, a row an epoch; a torn last line is ignored, and a damaged one an error."""
        import pandas as pd

        return pd.DataFrame(rows_of(self.directory))

    @cached_property
    def spec(self) -> Spec:
        """The spec of the data the pair was trained on."""
        from ppl_vae.datasets import Spec

        try:
            return Spec.from_dict(self.plain_config["spec"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RunError(
                f"{self.directory / CONFIG} holds no spec of data ({type(error).__name__}: {error})"
            ) from None

    @cached_property
    def reference(self) -> tuple[Any, ...] | None:
        """The first data that the pair was run on, one or two; None where the run keeps none (see `load`)."""
        from ppl_vae.runs.reference import load

        batch, why = load(self.directory)
        path = self.directory / REFERENCE
        if not files.is_there(path) and is_listed(path):
            warnings.warn(why, stacklevel=2)
        return batch

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The identity of this run: settings, and the checksums of its data; empty in older runs."""
        return read_recipe(self.directory)

    @cached_property
    def vae(self) -> VAE:
        """The pair with its best validation weights, in evaluation mode; needs no data.

        It is run once on the first data that it saw in training, which are kept in the run directory; where there are
        none (a run of an older version, or of data that are no plain values) it is not run before it is used, and
        `generate` needs `like=`.

        Raises:
            RunError: if there are no weights yet, or they do not fit.
        """
        from ppl_vae.runs.state import load_weights

        path = self.directory / WEIGHTS
        if not files.is_there(path) and is_listed(path):
            raise DamagedError(
                f"{self.directory} ({self.status}) has no weights any more, expected {WEIGHTS} as it was written: "
                f"restore it from a copy, or let ppl-vae train resume={self.directory} make it from a checkpoint"
            )
        if not files.is_there(path):
            raise RunError(f"{self.directory} ({self.status}) has no weights yet, expected {WEIGHTS}: train it first")
        if self.pair is not None:
            vae = self.pair
            self._prepare(vae)
        else:
            from ppl_vae.config.build import build_vae

            with self.building("likelihood", "model", "guide", "estimator", "prior", "encoder", "decoder"):
                vae = build_vae(self.plain_config, self.spec, trusted=self.trusted)
                self._prepare(vae)
        load_weights(path, vae)
        return vae.eval()

    def _prepare(self, vae: VAE) -> None:
        """Let the parameters appear that programs make when first run, on the data that they were first made on."""
        from ppl_vae.core.data import as_pair_takes
        from ppl_vae.core.run import prepare

        if self.reference is None or vae.reference_batch is not None:
            return
        try:
            prepare(vae, as_pair_takes(self.reference, vae))
        except Exception as error:
            if self.pair is None:
                raise
            cause = error.__cause__ or error
            raise RunError(
                f"Got a pair that does not run on the data of {self.directory} ({type(cause).__name__}: {cause}), "
                "expected the one that was trained there, made again by the same code."
            ) from error

    @cached_property
    def data(self) -> Dataset:
        """The dataset, loaded again; of a run that is not trusted no files that it names are read, see `trusted`."""
        from ppl_vae.config.build import build_dataset

        with self.building("dataset"):
            return build_dataset(self.plain_config, trusted=self.trusted)

    @cached_property
    def objective(self) -> Any:
        """The objective that the pair was trained by."""
        from ppl_vae.config.targets import build

        with self.building("objective"):
            return build("objective", self.plain_config["objective"], trusted=self.trusted)

    def posterior(self) -> Any:
        """`posterior.nc` as ArviZ's object.

        Raises:
            RunError: if it has not been made.
        """
        path = self.directory / "posterior.nc"
        if not files.is_there(path):
            raise RunError(f"{path} is not there; make it with: ppl-vae posterior run={self.directory}")
        try:
            files.verify(path)
        except DamagedError as error:
            raise DamagedError(f"{error} Or make it again: ppl-vae posterior run={self.directory}") from None
        from ppl_vae.inference_data._arviz import from_tree
        from ppl_vae.inference_data.groups import load

        return from_tree(load(path))

    @contextlib.contextmanager
    def building(self, *groups: str) -> Iterator[None]:
        """Within, groups of the config become objects; what goes wrong is told of this run."""
        try:
            with self.user_code():
                yield
        except UntrustedError as error:
            raise RunError(self.refusal(str(error), *groups)) from None
        except UsageError as error:
            if not self.trusted:
                raise RunError(f"{self.directory}: {error}") from None
            was = ", ".join(self.modules) or "an installed package"
            raise RunError(
                f"{self.directory}: {error}. Its code was in {was} when it was trained: put it back, or name its "
                "folder in PYTHONPATH"
            ) from None
        except PplVaeError:
            raise
        except Exception as error:
            if self.trusted:
                raise  # users' own code: theirs to see
            said = "more memory than there is" if out_of_memory(error) else f"{type(error).__name__}: {error}"
            raise RunError(
                f"{self.directory}: its config describes nothing that can be built ({said}), expected the one that "
                "`train` wrote"
            ) from error

    def refusal(self, reason: str, *groups: str) -> str:
        """The words with which what a run names is not built, and what to do."""
        named = [f"{name} ({key})" for group in groups for key, name in unlisted(self.saved.values.get(group), group)]
        what = f"it names {', '.join(named[:8])}, whose code opening it would run" if named else reason
        return (
            f"{self.directory} is not known to be made here ({self.saved.why}), and {what}. Read {CONFIG} there; where "
            "you trust it, add trust=true (in Python Run.load(…, trust=True))"
        )

    @property
    def modules(self) -> tuple[str, ...]:
        """The folders that modules of the user's own were imported from."""
        told = self.record.get("user_modules", []) if self.saved.why else self.saved.modules
        return tuple(p for p in told if isinstance(p, str)) if isinstance(told, (list, tuple)) else ()

    @contextlib.contextmanager
    def user_code(self) -> Iterator[None]:
        """Let the modules of a trusted run be imported from where they were when it was trained.

        They are looked for behind all that is installed, and before the working directory. A folder of a run is none of
        modules, whatever it says.
        """
        before = list(sys.path)
        if self.trusted:
            folders = [p for p in self.modules if p not in before and Path(p).is_dir() and not _in_run(Path(p))]
            here = {"", os.getcwd()}  # noqa: PTH109 - sys.path holds strings
            sys.path[:] = [*(p for p in before if p not in here), *folders, *(p for p in before if p in here)]
        try:
            yield
        finally:
            sys.path[:] = before

    def __str__(self) -> str:
        return str(self.directory)

    def __repr__(self) -> str:
        return self._view().line

    def _view(self) -> View:
        try:
            record, status = self.record, self.status
        except (PplVaeError, OSError) as error:  # to be shown is no reason to fail
            return View(f"Run({self.directory}: cannot be read)", notes=[str(error)])
        facts = {key: record.get(key) for key in ("verb", "started", "seconds", "seed") if record.get(key) is not None}
        return View(f"Run({self.directory}: {status})", rows=[*figures(facts), *figures(record.get("result") or {})])


def find(name: str | Path, *, key: str = "run", root: Path | None = None) -> Path:
    """The run directory that `run=NAME` means.

    Raises:
        RunError: naming what to type instead.
    """
    if str(name) == "latest":
        return latest(root or Path("outputs"), key=key)
    path = whole_path(name, key)
    if is_run(path):
        return path
    if not path.exists():
        raise no_such_folder(key, name, path)
    if path.is_file():
        hint = f"its folder is a run: {key}={path.parent}" if is_run(path.parent) else "expected a run directory"
        raise RunError(f"{key}={name}: this is a file; {hint}")
    runs = children(path)
    if is_sweep(path) or (runs and runs[0].name.isdigit()):
        one = f"choose one, such as {key}={runs[0]}, or take all" if runs else "none has begun"
        every = f"ppl-vae train -m resume={path}" if key == "resume" or not runs else f"ppl-vae compare sweep={path}"
        raise RunError(f"{key}={name}: this is {_told(path, runs)}; {one}: {every}")
    if not any(path.iterdir()) or (path / CONFIG).is_file() or (path / LOCK).is_file():
        raise RunError(
            f"{key}={name}: nothing was started here: no process has marked a run as running (no {RECORD}). Train "
            "anew; the folder may be used again, or deleted"
        )
    inner = runs[:3] or sorted((p.parent for p in path.glob(f"*/*/{RECORD}")), reverse=True)[:3]
    hint = "; did you mean " + " or ".join(str(p) for p in inner) + "?" if inner else ""
    raise RunError(f"{key}={name}: this is not a run directory, expected one with {RECORD} and {CONFIG}{hint}")


def no_such_folder(key: str, name: str | Path, path: Path) -> RunError:
    """The error that a key names a folder which is not there, with the names of those beside it."""
    siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
    hint = f"{near(path.name, siblings[:20])} in {path.parent}" if siblings else f"{path.parent} holds no folder"
    return RunError(f"{key}={name}: there is no such folder; {hint}")


def _told(path: Path, runs: list[Path]) -> str:
    """The name of a sweep's folder: a plan knows how many jobs there are to be."""
    done = 0
    for run in runs:
        with contextlib.suppress(RunError):  # damaged
            done += read_record(run)["status"] == "finished"
    with contextlib.suppress(OSError, RunError, KeyError, TypeError):
        jobs = read_json(path / SWEEP[0], "the plan of a sweep", dict[str, Any])["jobs"]
        return f"a sweep of {len(jobs)} jobs, {done} finished"
    return f"a sweep of {len(runs)} runs, {done} finished"


def _in_run(folder: Path) -> bool:
    """True for the folder of a run, and for what is in it."""
    return any(is_run(place) for place in (folder, *folder.parents))


def is_run(path: Path) -> bool:
    """True if a folder is a run directory."""
    return (path / RECORD).is_file()


def is_sweep(path: Path) -> bool:
    """True if a folder is that of a sweep: it holds the plan, or Hydra's note of it."""
    return not is_run(path) and any((path / name).is_file() for name in SWEEP)


def children(path: Path) -> list[Path]:
    """The runs of a sweep's folder, in the order of their numbers; with a plan, at any depth (`hydra.sweep.subdir`)."""
    if not path.is_dir():
        return []
    found = list(_runs_below(path, DEPTH)) if is_sweep(path) else [p.parent for p in path.glob(f"*/{RECORD}")]

    def order(run: Path) -> list[tuple[bool, int, str]]:
        parts = run.relative_to(path).parts
        return [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts]

    return sorted(found, key=order)


def _runs_below(path: Path, depth: int) -> Iterator[Path]:
    for inner in path.iterdir():
        if inner.is_dir() and is_run(inner):
            yield inner
        elif depth > 1 and inner.is_dir() and not inner.is_symlink():
            yield from _runs_below(inner, depth - 1)


def latest(root: Path, *, key: str = "run") -> Path:
    """The newest trained run under a folder of outputs, by the time it started.

    Raises:
        RunError: if there is none.
    """
    runs = [p.parent for depth in ("*", "*/*", "*/*/*") for p in root.glob(f"{depth}/{RECORD}")]
    started: list[tuple[str, Path]] = []
    for run in runs:
        with contextlib.suppress(RunError):
            record = read_record(run)
            if record.get("verb", "train") in ("train", "prior"):
                started.append((str(record.get("started", "")), run))
    if not started:
        raise RunError(f"{key}=latest: there is no run under {root.absolute()}; make one with: ppl-vae train")
    return max(started)[1].absolute()
