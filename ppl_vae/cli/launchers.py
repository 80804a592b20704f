"""Launchers of processes, which are Hydra's plugins: their keys, what is not installed, the threads of a worker."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from ppl_vae.errors import PplVaeError

GROUP = "hydra/launcher"

PLUGINS = {
    "joblib": ("hydra-joblib-launcher", "sweeps"),
    "submitit_local": ("hydra-submitit-launcher", "sweeps"),
    "submitit_slurm": ("hydra-submitit-launcher", "sweeps"),
    "ray": ("hydra-ray-launcher", "ray"),
}
"""The options of which a plugin is the launcher: its package, and the extra of ours that brings it."""

HERE = ("hydra._internal.core_plugins.basic_launcher.BasicLauncher", "ppl_vae.cli.batched.BatchedLauncher")
"""The launchers whose jobs run in this process."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def complete(option: str, config: DictConfig) -> None:
    """Lay our keys of a launcher over those that its plugin declares, with their types.

    Args:
        option: of the group `hydra/launcher`.
        config: of ours, as it is placed in the whole.

    Raises:
        PplVaeError: the plugin is not installed.
    """
    if option not in PLUGINS:
        return
    from hydra.core.config_store import ConfigStore

    package, extra = PLUGINS[option]
    store: Any = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    if f"{option}.yaml" not in store:
        raise PplVaeError(
            f"{GROUP}={option} needs {package}, which is not installed: pip install 'ppl-vae[{extra}]' "
            f"(a sweep without it: {GROUP}=basic, one job after the other)"
        )
    with read_write(config), open_dict(config):
        config.hydra.launcher = OmegaConf.merge(store[f"{option}.yaml"].node, config.hydra.launcher)


@contextlib.contextmanager
def laid_over(group: str) -> Iterator[None]:
    """Let Hydra take our options of launchers beside their plugins': it warns that names are the same."""
    with warnings.catch_warnings():
        if group == GROUP:
            warnings.filterwarnings("ignore", "(?s).*validated against ConfigStore schema with the same name")
        yield


def register_resolvers() -> None:
    """Give configs `${workers:THREADS}`: how many workers of so many threads this machine has cores for."""
    OmegaConf.register_new_resolver("workers", workers, replace=True)


def workers(threads: int | None = None) -> int:
    """The number of processes of so many threads (None: one) for which this process may use cores."""
    from joblib import cpu_count

    return max(1, int(cpu_count()) // (threads or 1))


def is_here(config: DictConfig) -> bool:
    """True where jobs run in the process of the command."""
    return OmegaConf.select(config, "hydra.launcher._target_") in HERE


def launched(
    launch: Callable[..., Sequence[Any]], jobs: Sequence[Sequence[str]], first: int, config: DictConfig
) -> list[Any]:
    """Let a launcher do jobs: its workers begin with the threads that `engine.threads` says, else with one.

    submitit's executor for this machine starts all jobs that it is given at once: it is given as many at a time as the
    cores are enough for.
    """
    if is_here(config):
        return list(launch(jobs, initial_job_idx=first))
    threads = OmegaConf.select(config, "engine.threads")
    target = str(OmegaConf.select(config, "hydra.launcher._target_"))
    size = workers(threads) if target.endswith("LocalLauncher") else len(jobs)
    done: list[Any] = []
    with _environment(threads), _told(str(OmegaConf.select(config, "hydra.runtime.choices")[GROUP])):
        for start in range(0, len(jobs), size):
            done += launch(jobs[start : start + size], initial_job_idx=first + start)
    return done


@contextlib.contextmanager
def _told(option: str) -> Iterator[None]:
    """Say in words what the errors of launchers have in common: a process is gone, and nobody told its job why.

    Raises:
        PplVaeError: in place of an error of the launcher's own.
    """
    try:
        yield
    except (PplVaeError, HydraException, OmegaConfBaseException):
        raise
    except Exception as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
        raise PplVaeError(
            f"{GROUP}={option} gave up ({type(error).__name__}: {said}): a process that did a job was ended from "
            "outside, or for want of memory. What was trained is kept, and the sweep can be gone on with"
        ) from error


@contextlib.contextmanager
def _environment(threads: int | None) -> Iterator[None]:
    """The variables that processes started here begin with; what the user has set stays, but for `engine.threads`."""
    told = {name: str(threads or 1) for name in THREADS if threads is not None or name not in os.environ}
    told |= {"RAY_USAGE_STATS_ENABLED": "0"} if "RAY_USAGE_STATS_ENABLED" not in os.environ else {}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
