"""The folders Hydra makes: pinned for a sweep, and removed again where a job was refused."""

from __future__ import annotations

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

from ppl_vae.errors import RunError

_made: list[Path] = []
_scratch: list[Path] = []


def register_resolvers() -> None:
    """Give configs `${uid:}`, a few random letters, and `${scratch:}`, a folder that goes when we do."""
    OmegaConf.register_new_resolver("uid", lambda *_: secrets.token_hex(3), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("scratch", lambda *_: str(_make_scratch()), use_cache=True, replace=True)


def _make_scratch() -> Path:
    _scratch.append(Path(tempfile.mkdtemp(prefix="ppl_vae_")))
    return _scratch[-1]


def remember(directory: Path) -> None:
    """Note which folders on the way to `directory` are not there yet: to be removed if the job is refused."""
    directory = directory.absolute()
    missing = [p for p in (directory, *directory.parents) if not p.exists()]
    _made.extend(p for p in missing if p not in _made)


def remove_empty() -> None:
    """Remove the remembered folders that hold nothing but Hydra's note of a sweep, and all scratch folders."""
    for path in list(_made):
        if path.is_dir():  # a sweep's job that was stopped before it began
            _made.extend(p for p in path.iterdir() if p.is_dir() and p not in _made and not any(p.iterdir()))
    for path in sorted(_made, key=lambda p: len(p.parts), reverse=True):
        if path.is_dir() and {p.name for p in path.iterdir()} <= {"multirun.yaml"}:
            (path / "multirun.yaml").unlink(missing_ok=True)
            path.rmdir()
    _made.clear()
    while _scratch:
        shutil.rmtree(_scratch.pop(), ignore_errors=True)


class Folders(Callback):
    """Notes folders before Hydra makes them; a sweep keeps one folder even where its name holds a choice."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the run's folder."""
        remember(Path(_resolved(config, "hydra.run.dir")))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the sweep's folder and pin it for every job."""
        directory = str(Path(_resolved(config, "hydra.sweep.dir")).absolute())
        from ppl_vae.runs.recorder import RECORD

        if (Path(directory) / RECORD).exists():
            raise RunError(f"{directory} holds a run already, expected a new folder: choose another hydra.sweep.dir")
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
        of their own for failures, and a launcher of processes must bring the failure home.
        """
        basic = all("Basic" in str(OmegaConf.select(config, f"hydra.{k}._target_")) for k in ("sweeper", "launcher"))
        if basic and config.hydra.mode == RunMode.MULTIRUN and job_return.status == JobStatus.FAILED:
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
