"""The life of a run directory: taken by one process, marked running, then finished, failed or interrupted."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict

from ppl_vae import files
from ppl_vae.errors import DamagedError, RunError
from ppl_vae.files import manifest, seal
from ppl_vae.files.inside import content
from ppl_vae.files.locks import Lock, is_held
from ppl_vae.files.manifest import MANIFEST, MOST
from ppl_vae.files.replace import clear
from ppl_vae.reading import of_form
from ppl_vae.runs import git, saved
from ppl_vae.runs.files import jsonable, write_atomically
from ppl_vae.runs.plain import LARGEST
from ppl_vae.runs.schema import SCHEMA, schema_of
from ppl_vae.version import __version__

LOCK = ".lock"
RECORD = "run.json"
CONFIG = saved.CONFIG
ERROR = "error.txt"
WEIGHTS = "model.safetensors"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoints/last.safetensors"
PREVIOUS = "checkpoints/previous.safetensors"
RECIPE = "recipe.json"
REFERENCE = "reference.safetensors"
TRACKERS = "trackers.json"

OWN = (RECIPE, REFERENCE, WEIGHTS, CHECKPOINT, PREVIOUS)
"""What training writes and is the same in equal runs; it stands in the manifest of a run that has finished."""

SUMS = "sums"
"""Under this key `run.json` has size and SHA-256 of `metrics.jsonl` once the run has finished."""

BESIDE = "config"
"""Under this key `run.json` has the checksum of the `config.yaml` that it goes with; of two, as that is replaced."""

ENDED = ("error", "refused", "exit_code", SUMS)
"""What `run.json` says of the end of a run, and no more once it goes on."""


class RunWriter:
    """Writes `run.json` and holds the lock of one run directory.

    Args:
        directory: the run's folder, which may exist but may not hold a run, unless `resume`.
        resume: go on with the run that is there.

    Raises:
        RunError: if the folder holds a run, another process has it, or it cannot be written.
    """

    def __init__(self, directory: str | os.PathLike[str], *, resume: bool = False) -> None:
        self.directory = Path(directory)
        self.record: dict[str, Any] = {}
        self.began, self._resume = False, resume
        self._planned: tuple[Mapping[str, Any] | None, bool, dict[str, Any]] | None = None
        self._started = time.monotonic()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            files.no_way_out(self.directory / LOCK)
            self._lock = Lock(self.directory / LOCK)
            if not self._lock.acquire():
                raise RunError(f"{directory} is being trained by another process; wait for it, or stop it first")
        except (OSError, ValueError) as error:  # such as a name with a NUL in it
            why = getattr(error, "strerror", None) or error
            where = getattr(error, "filename", None) or self.directory / LOCK
            raise RunError(
                f"Got {why} when making {where}, expected a folder that can be written to. Choose another "
                "(hydra.run.dir=DIR on the command line)."
            ) from error
        if files.is_there(self.directory / RECORD):
            if not resume:
                self.release()
                raise RunError(
                    f"{directory} holds a run already, expected a new folder; go on with it (resume={directory} on the "
                    "command line, resume=True in pv.fit), or choose another (hydra.run.dir on the command line)"
                )
            try:
                self.record = read_record(self.directory)
            except RunError:
                self.release()
                raise
        elif runs := len(list(self.directory.glob(f"*/{RECORD}"))):
            self.release()
            (self.directory / LOCK).unlink(missing_ok=True)
            raise RunError(
                f"{directory} is the folder of {runs} runs, expected a new one: choose another "
                "(hydra.run.dir on the command line)"
            )

    def __fspath__(self) -> str:
        return str(self.directory)

    def start(self, config: Mapping[str, Any] | None = None, *, sealed: bool = True, **facts: Any) -> None:
        """Write `config.yaml`, then mark the run as running: a run exists from then on.

        A run that is gone on with stays as it was until training begins: it may still be refused.

        Args:
            config: resolved, enough to rebuild the pair; None where there is none.
            sealed: the run is this user's own, see `saved.text_of`.
            facts: what else belongs in `run.json`, such as `seed` or `command`.
        """
        self._planned = (config, sealed, facts)
        if not self.record:
            self.begin()

    def begin(self) -> None:
        """Write what `start` was told, if that is still to be done: training begins now."""
        if self._planned is None:
            return
        (config, sealed, facts), self._planned = self._planned, None
        moment = now()
        before = {k: v for k, v in self.record.items() if k not in ENDED}
        record = before | ({"resumed": [*before.get("resumed", []), moment]} if before else {"started": moment})
        record |= {"schema": SCHEMA, "status": "running", "finished": None, "versions": versions()}
        record |= {"machine": machine(), **facts, **_git()}
        if before:
            manifest.withdraw(self.directory, OWN)
        for name in (RECORD, CONFIG, METRICS, TRACKERS, *OWN):  # by the lock, nobody else writes them
            clear(self.directory / name, of_all=True)
        self.began, self.record = True, record
        if config is not None:
            text = saved.text_of(config, facts.get("user_modules", ()), sealed=sealed)
            beside = [seal.checksum_of(text.encode())]
            if before:  # before the config is replaced, the record goes with it and with the one that is there
                with contextlib.suppress(FileNotFoundError, DamagedError):
                    beside.append(seal.checksum_of(content(self.directory / CONFIG, LARGEST)))
                self.tell(**{BESIDE: list(dict.fromkeys(beside))})
            write_atomically(self.directory / CONFIG, text, listed=False)
            self.record[BESIDE] = beside[:1]
        self._write()

    def tell(self, **facts: Any) -> None:
        """Write further facts into `run.json`."""
        self.record |= facts
        self._write()

    def end(self, status: str, *, result: Mapping[str, Any] | None = None, error: str | None = None) -> None:
        """Mark the run as finished, failed or interrupted."""
        self.begin()
        before = float(self.record.get("seconds") or 0)
        self.record |= {
            "status": status,
            "finished": now(),
            "seconds": round(before + time.monotonic() - self._started, 3),
        }
        if result is not None:
            self.record["result"] = jsonable(result)
        if error is not None:
            self.record["error"] = error
        if status in ("finished", "pruned"):
            manifest.enter(self.directory, OWN)
            if files.is_there(metrics := self.directory / METRICS):
                self.record[SUMS] = {METRICS: manifest.summed(metrics)}
        self._write()

    def failed(self, error: BaseException, message: str, **facts: Any) -> None:
        """Mark the run as failed and keep the whole traceback in `error.txt`.

        Args:
            error: what was raised.
            message: what is said of it.
            facts: what else belongs in `run.json`, such as `refused` for a run that nothing had been trained of.
        """
        if not self.record:
            self.record = {"schema": SCHEMA, "status": "failed", "started": now(), "versions": versions()}
        self.record |= facts
        try:
            clear(self.directory / ERROR, of_all=True)
            write_atomically(self.directory / ERROR, "".join(traceback.format_exception(error)), listed=False)
            error.add_note(traceback_told(self.directory))
            self.end("failed", error=message)
        except RunError as unwritten:  # a full disk: the error at hand tells more
            error.add_note(f"That it failed cannot be written: {unwritten}")

    def discard(self) -> None:
        """Remove what this run wrote: a run that is refused leaves nothing."""
        try:
            for name in (RECORD, CONFIG, ERROR, RECIPE, REFERENCE, METRICS, WEIGHTS, TRACKERS, MANIFEST):
                (self.directory / name).unlink(missing_ok=True)
            shutil.rmtree(self.directory / "checkpoints", ignore_errors=True)
            with contextlib.suppress(OSError):  # last: from then on the folder may be another's
                (self.directory / LOCK).unlink(missing_ok=True)
        finally:
            self.release()

    def release(self) -> None:
        """Give the lock up."""
        self._lock.release()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if isinstance(error, KeyboardInterrupt) and self.began:
                with contextlib.suppress(RunError):  # a full disk; that it runs, without a process, says the same
                    self.end("interrupted")
            if error is not None and not self.record and not self._resume:
                self.discard()  # it had not started
        finally:
            self.release()

    def _write(self) -> None:
        clear(self.directory / RECORD, of_all=True)  # by the lock, nobody else writes it
        write_atomically(self.directory / RECORD, seal.sealed_json(self.record, indent=2), listed=False)


class Record(TypedDict, total=False):
    """The form of those entries of `run.json` that are used."""

    status: str
    verb: str
    job: int | None
    overrides: list[str]
    choices: dict[str, str] | None
    command: list[str]
    user_modules: list[str]
    started: str | None
    finished: str | None
    error: str | None
    exit_code: int
    seed: int | None
    seconds: float | None
    versions: dict[str, str]
    machine: dict[str, Any]
    config: list[str]
    git: dict[str, Any]
    result: dict[str, Any] | None


class Recipe(TypedDict, total=False):
    """The form of those entries of `recipe.json` that are used by name."""

    shares: int
    data: dict[str, dict[str, Any] | None]


def traceback_told(directory: Path) -> str:
    """Where the traceback of a run's failure is, in words."""
    return f"the whole traceback is in {directory / ERROR}"


def read_record(directory: Path) -> dict[str, Any]:
    """Read `run.json`.

    Raises:
        RunError: if it is missing or damaged, of another run than the config beside it, or of a later schema than this
            version knows.
    """
    path = directory / RECORD
    record = _record(path)
    while not _goes_with(record, directory / CONFIG):
        before, record = record, _record(path)
        if record == before:  # else both were replaced meanwhile
            raise DamagedError(
                f"Got {path} that goes with another config than the {CONFIG} beside it, expected the two of one run. "
                "One of them was exchanged: restore it from a copy."
            )
    return record


def _record(path: Path) -> dict[str, Any]:
    what = "the record of a run that `train` wrote"
    try:
        record: dict[str, Any] = of_form(seal.unsealed_json(content(path, MOST), path), path, what, Record)
    except FileNotFoundError as error:
        raise RunError(f"{path} cannot be read ({error}); expected {what}") from None
    if "status" not in record:
        raise RunError(f"{path} is not the record of a run; expected a JSON object with a status")
    schema_of(record, path)
    return record


def _goes_with(record: Mapping[str, Any], config: Path) -> bool:
    """True unless the config is one as it was written, and another than the record says."""
    if not record.get(BESIDE):
        return True
    with contextlib.suppress(OSError, DamagedError):  # who reads it is told
        return seal.checksum_of(content(config, LARGEST)) in ("", *record[BESIDE])
    return True


def read_json(path: Path, what: str = "what ppl_vae wrote", form: Any = Any) -> Any:
    """The value in a JSON file of a run, as it was written, and of a form.

    Args:
        path: of the file.
        what: is expected there, such as `the plan of a sweep`.
        form: the annotation that the value has to fit, such as a `TypedDict`, see `kinds.misfit`.

    Raises:
        FileNotFoundError: there is none.
        RunError: it is not what was written, or has an entry of another kind.
    """
    return of_form(seal.unsealed_json(files.read(path, MOST), path), path, what, form)


def read_text(path: Path) -> str:
    """A text file of a run, such as `config.yaml`, as it was written; raises as `read_json`."""
    return seal.unsealed_text(files.read(path, MOST), path)


def read_recipe(directory: Path) -> dict[str, Any]:
    """The identity of the run in a directory, or nothing where that was not written.

    Raises:
        RunError: the file is damaged.
    """
    path = directory / RECIPE
    try:
        found: dict[str, Any] = read_json(path, "what makes a run, as `fit` wrote it", Recipe)
    except FileNotFoundError:
        return {}
    return found


def locked(directory: Path) -> bool:
    """True if a process holds the run; asking takes no lock from anybody."""
    return is_held(directory / LOCK)


def status_of(directory: Path) -> str:
    """`running`, `finished`, `failed`, `interrupted` or `pruned`; running without a process is interrupted.

    Raises:
        RunError: for a record that is missing or damaged.
    """
    status = str(read_record(directory)["status"])
    if status == "running" and not locked(directory):  # since then it may have ended
        status = str(read_record(directory)["status"])
        return "interrupted" if status == "running" else status
    return status


def versions() -> dict[str, str]:
    """The versions and devices that the numbers of a run depend on."""
    found = {"python": platform.python_version(), "ppl_vae": __version__}
    for package in ("torch", "pyro-ppl", "numpy", "hydra-core", "arviz"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The kind of machine that a run is made on; nothing that tells which one it is."""
    from ppl_vae.compile.kernels.choice import processor  # torch, which whoever reads a record is spared

    return {"system": platform.system(), "processor": processor(), "cores": os.cpu_count()}


def command() -> list[str]:
    """The command line as typed."""
    return list(sys.orig_argv[1:] if hasattr(sys, "orig_argv") else sys.argv)


def now() -> str:
    """The time, in ISO's form."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _git() -> dict[str, Any]:
    """The commit of the working directory, if it is under git and has one."""
    try:
        commit = git.commit(Path.cwd())
    except FileNotFoundError:  # it was deleted
        return {}
    return {} if commit is None else {"git": {"commit": commit}}
