"""The folders Hydra makes: pinned for a sweep, and removed again where a job was refused."""

from __future__ import annotations

import contextlib
import math
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

_made: list[Path] = []
_scratch: list[Path] = []


def register_resolvers() -> None:
    """Give configs `${uid:}`, a few random letters, and `${scratch:}`, a folder that goes when we do."""
    OmegaConf.register_new_resolver("uid", lambda *_: secrets.token_hex(3), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("scratch", lambda *_: str(_make_scratch()), use_cache=True, replace=True)


def _make_scratch() -> Path:
    _scratch.append(Path(tempfile.mkdtemp(prefix="ppl_vae_")))
    return _scratch[-1]


def is_scratch(directory: Path) -> bool:
    """True for a folder that goes when we do, such as the one for sweeps of verbs that write inside runs."""
    return any(directory.absolute() == path.absolute() for path in _scratch)


def remember(directory: Path) -> None:
    """Note which folders on the way to `directory` are not there yet: to be removed if the job is refused."""
    directory = directory.absolute()
    missing = [p for p in (directory, *directory.parents) if not p.exists()]
    _made.extend(p for p in missing if p not in _made)


def remove_empty() -> None:
    """Remove the remembered folders that hold nothing but the plan of a sweep, and all scratch folders."""
    if _made:
        _remove_made()
    while _scratch:
        shutil.rmtree(_scratch.pop(), ignore_errors=True)


def _remove_made() -> None:
    from ppl_vae.runs.run import SWEEP

    for path in list(_made):
        if path.is_dir():  # a sweep's job that was stopped before it began
            _made.extend(p for p in path.iterdir() if p.is_dir() and p not in _made and not any(p.iterdir()))
    for path in sorted(_made, key=lambda p: len(p.parts), reverse=True):
        if path.is_dir() and {p.name for p in path.iterdir()} <= set(SWEEP):
            with contextlib.suppress(OSError):  # another process of the run has removed it, or uses it
                for name in SWEEP:
                    (path / name).unlink(missing_ok=True)
                path.rmdir()
    _made.clear()


class Folders(Callback):
    """Notes folders before Hydra makes them; a sweep keeps one folder even where its name holds a choice."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the run's folder."""
        remember(Path(_resolved(config, "hydra.run.dir")))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the sweep's folder and pin it for every job."""
        directory = str(Path(_resolved(config, "hydra.sweep.dir")).absolute())
        remember(Path(directory))
        quoted = "'" + directory.replace("'", "\\'") + "'"
        typed: Any = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)  # as typed, `${…}` too
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.sweep.dir = directory
            kept = [o for o in typed if not o.startswith("hydra.sweep.dir=")]
            config.hydra.overrides.hydra = [*kept, f"hydra.sweep.dir={quoted}"]

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Let the sweep go on after a failed job, whose error has been told and counted.

        Hydra's own sweeper would stop between batches and repeat the first error at the end. Other sweepers have rules
        of their own for failures, and a launcher of processes must bring the failure home where no file tells it.
        """
        from ppl_vae.sweeps.plan import PLAN

        told = OmegaConf.to_container(config.hydra, resolve=False)
        assert isinstance(told, dict)
        here = "Basic" in str(told["launcher"]["_target_"]) or (Path(told["sweep"]["dir"]) / PLAN).is_file()
        basic = "Basic" in str(told["sweeper"]["_target_"]) and config.hydra.mode == RunMode.MULTIRUN
        if basic and here and job_return.status == JobStatus.FAILED:
            job_return.status = JobStatus.COMPLETED
            job_return.return_value = math.nan


def _resolved(config: DictConfig, key: str) -> str:
    """A key of Hydra's own config, before Hydra has set it: `${hydra:…}` needs that."""
    instance = HydraConfig.instance()
    before = instance.cfg
    try:
        instance.set_config(config)
        return str(OmegaConf.select(config, key))
    finally:
        instance.cfg = before
