"""The life of a run directory: taken by one process, marked running, then finished, failed or interrupted."""

from __future__ import annotations

import json
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
from typing import Any

from filelock import FileLock, Timeout

from ppl_vae.errors import RunError
from ppl_vae.runs import git, saved
from ppl_vae.runs.files import jsonable, write_atomically
from ppl_vae.version import __version__

LOCK = ".lock"
RECORD = "run.json"
CONFIG = saved.CONFIG
ERROR = "error.txt"
WEIGHTS = "model.safetensors"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoints/last.safetensors"
RECIPE = "recipe.json"
REFERENCE = "reference.safetensors"
TRACKERS = "trackers.json"


FAILURE = ("error", "refused", "exit_code")
"""What `run.json` says of a failure, and no more once the run goes on."""


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
            self._lock = FileLock(self.directory / LOCK, timeout=0)
            self._lock.acquire()
        except Timeout:
            raise RunError(f"{directory} is being trained by another process; wait for it, or stop it first") from None
        except OSError as error:
            raise RunError(
                f"Got {error.strerror or error} when making {directory}, expected a folder that can be written to. "
                "Choose another (hydra.run.dir=DIR on the command line)."
            ) from error
        if (self.directory / RECORD).exists():
            if not resume:
                self.release()
                raise RunError(
                    f"{directory} holds a run already, expected a new folder; go on with it (resume={directory} on the "
                    "command line, resume=True in pv.fit), or choose another (hydra.run.dir on the command line)"
                )
            self.record = read_record(self.directory)
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
            sealed: the run is this user's own, see `saved.write`.
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
        before = {k: v for k, v in self.record.items() if k not in FAILURE}
        record = {**before, "resumed": [*before.get("resumed", []), moment]} if before else {"started": moment}
        record |= {"status": "running", "finished": None, "versions": versions(), **facts, **_git()}
        if config is not None:
            saved.write(self.directory, config, facts.get("user_modules", ()), sealed=sealed)
        self.began, self.record = True, record
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
        self._write()

    def failed(self, error: BaseException, message: str, **facts: Any) -> None:
        """Mark the run as failed and keep the whole traceback in `error.txt`.

        Args:
            error: what was raised.
            message: what is said of it.
            facts: what else belongs in `run.json`, such as `refused` for a run that nothing had been trained of.
        """
        if not self.record:
            self.record = {"status": "failed", "started": now(), "versions": versions()}
        self.record |= facts
        write_atomically(self.directory / ERROR, "".join(traceback.format_exception(error)))
        error.add_note(traceback_told(self.directory))
        self.end("failed", error=message)

    def discard(self) -> None:
        """Remove what this run wrote: a run that is refused leaves nothing."""
        self.release()
        for name in (LOCK, RECORD, CONFIG, ERROR, RECIPE, REFERENCE, METRICS, WEIGHTS, TRACKERS):
            (self.directory / name).unlink(missing_ok=True)
        shutil.rmtree(self.directory / "checkpoints", ignore_errors=True)

    def release(self) -> None:
        """Give the lock up."""
        self._lock.release()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt) and self.began:
            self.end("interrupted")
        if error is not None and not self.record and not self._resume:
            self.discard()  # it had not started
        self.release()

    def _write(self) -> None:
        write_atomically(self.directory / RECORD, json.dumps(self.record, indent=2, allow_nan=False) + "\n")


def traceback_told(directory: Path) -> str:
    """Where the traceback of a run's failure is, in words."""
    return f"the whole traceback is in {directory / ERROR}"


def read_record(directory: Path) -> dict[str, Any]:
    """Read `run.json`.

    Raises:
        RunError: if it is missing or damaged.
    """
    path = directory / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); expected the record of a run that `train` wrote") from None
    if not isinstance(record, dict) or "status" not in record:
        raise RunError(f"{path} is not the record of a run; expected a JSON object with a status")
    return record


def read_recipe(directory: Path) -> dict[str, Any]:
    """The identity of the run in a directory, or nothing where that was not written.

    Raises:
        RunError: the file is damaged.
    """
    path = directory / RECIPE
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"Got {path} that cannot be read ({error}), expected what `fit` wrote.") from error
    if not isinstance(found, dict):
        raise RunError(f"Got {path} that is no JSON object, expected what `fit` wrote.")
    return found


def locked(directory: Path) -> bool:
    """True if a process holds the run."""
    path = directory / LOCK
    if not path.exists():
        return False
    lock = FileLock(path, timeout=0)
    try:
        with lock:
            return False
    except Timeout:
        return True
    except OSError:  # a read-only run is nobody's
        return False


def versions() -> dict[str, str]:
    """The versions and devices that the numbers of a run depend on."""
    found = {"python": platform.python_version(), "ppl_vae": __version__}
    for package in ("torch", "pyro-ppl", "numpy", "hydra-core", "arviz"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


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
