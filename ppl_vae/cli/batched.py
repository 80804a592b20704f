"""`hydra/launcher=batched`: jobs of a sweep that differ in numbers alone are trained as one program.

The jobs are shared out among worker processes, those of a kind together. In each, all are begun first, each as it would
begin alone, then trained in lockstep. Only then each job has its turn, in the ordinary way: it finds itself trained,
evaluates, and makes what else it makes. A job that cannot be begun before its turn does all of it in its turn, and
fails there as it would alone.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ppl_vae.cli import alike, launchers
from ppl_vae.cli.forks import FORKS, Tell, in_processes
from ppl_vae.cli.hydra import JobFailed
from ppl_vae.cli.progress import say, warn
from ppl_vae.cli.replaced import replaced
from ppl_vae.errors import UsageError
from ppl_vae.imports import load

if TYPE_CHECKING:
    from ppl_vae.cli.verbs.train import Begun
    from ppl_vae.datasets import Dataset


TARGET = "ppl_vae.cli.batched.BatchedLauncher"

RUNS = 8
"""The fewest jobs that make a worker process worth while: each records and verifies its stacks anew."""


class BatchedLauncher(BasicLauncher):
    """Launches jobs, those of one kind trained as one program.

    Args:
        at_once: the most jobs that are begun at a time, and the most runs in one program.
        workers: processes that share the jobs; None for one a core, as far as each has `RUNS` jobs.

    Attributes:
        looked_at: configs of jobs that a sweeper has looked at already, by their overrides.
    """

    def __init__(self, at_once: int = 64, workers: int | None = None) -> None:
        super().__init__()
        self.at_once, self.workers = at_once, workers
        self.may_fork = FORKS
        self.looked_at: dict[Any, alike.Configs] = {}

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train all, then give each job its turn."""
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        job = getattr(self.task_function, "job", None)
        if job is None or job.verb != "train":
            return super().launch(job_overrides, initial_job_idx)
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        load = functools.partial(self.hydra_context.config_loader.load_sweep_config, self.config)
        configs = self.looked_at.pop(_name(job_overrides), None) or alike.Configs(load, job_overrides)
        do = functools.partial(self._do, configs, initial_job_idx)
        threads = OmegaConf.select(self.config, "engine.threads")
        workers = self.workers or min(launchers.workers(threads), max(1, len(configs) // RUNS))
        shares = _shares(job_overrides, workers if self.may_fork else 1)
        if len(shares) > 1:
            job.is_heard = True
            return _in_workers(job_overrides, shares, threads or launchers.workers(workers), do)
        self.may_fork = False  # a process that has computed on several threads leaves its forks waiting for them
        done: dict[int, JobReturn] = {}
        do(shares[0], done.__setitem__)
        return [done[place] for place in range(len(configs))]

    def _do(
        self, configs: alike.Configs, first: int, places: Sequence[int], tell: Callable[[int, JobReturn], object]
    ) -> None:
        """Train jobs in this process, some at a time, then give each its turn."""
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        loaded: dict[str, Dataset] = {}
        size = math.ceil(len(places) / math.ceil(len(places) / self.at_once))
        for start in range(0, len(places), size):
            some = {place: _numbered(configs[place], first + place) for place in places[start : start + size]}
            ahead = self.task_function.job.ahead  # type: ignore[attr-defined]
            with _ahead(list(some.values()), self.at_once, ahead, loaded):
                for place, config in some.items():
                    told = run_job(
                        hydra_context=self.hydra_context,
                        task_function=self.task_function,
                        config=config,
                        job_dir_key="hydra.sweep.dir",
                        job_subdir_key="hydra.sweep.subdir",
                    )
                    tell(place, told)
                    configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)


def _numbered(config: DictConfig, number: int) -> DictConfig:
    with open_dict(config):
        config.hydra.job.id = number
        config.hydra.job.num = number
    return config


def _name(jobs: Sequence[Sequence[str]]) -> Any:
    return tuple(map(tuple, jobs))


@contextlib.contextmanager
def launching() -> Iterator[None]:
    """Let Hydra make a `BatchedLauncher` where a config names it, and look at jobs without composing each of them.

    Of itself it takes launchers of its own packages only.

    Raises:
        UsageError: for a key that the launcher does not take.
    """
    launcher_of = Plugins.instantiate_launcher
    looked_at: dict[Any, alike.Configs] = {}

    def validate_batch_is_legal(self: Any, batch: Sequence[Sequence[str]]) -> None:
        """Look at every job, as Hydra does, which composes each anew for it."""
        node = self.config.hydra.launcher
        load = functools.partial(self.hydra_context.config_loader.load_sweep_config, self.config)
        configs = alike.Configs(load, batch)
        if node is not None and node.get("_target_") == TARGET:
            looked_at[_name(batch)] = configs

    def instantiate_launcher(self: Plugins, hydra_context: Any, task_function: Any, config: Any) -> Launcher:
        node = config.hydra.launcher
        if node is None or node.get("_target_") != TARGET:
            return launcher_of(self, hydra_context, task_function, config)
        keys = {str(k): v for k, v in node.items() if k != "_target_"}
        if unknown := sorted(keys.keys() - {"at_once", "workers"}):
            raise UsageError(
                f"hydra.launcher.{unknown[0]}: no key of hydra/launcher=batched, expected at_once or workers"
            )
        for key, least in (("at_once", 2), ("workers", 1)):
            value = keys.get(key)
            if value is not None and (type(value) is not int or value < least):
                raise UsageError(f"hydra.launcher.{key}: got {value}, expected a whole number of at least {least}")
        if (keys.get("workers") or 1) > 1 and not FORKS:
            raise UsageError(
                f"hydra.launcher.workers: got {keys['workers']}, expected 1: only Linux has more processes"
            )
        launcher = BatchedLauncher(**{k: v for k, v in keys.items() if v is not None})
        launcher.looked_at = looked_at
        launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        return launcher

    with (
        replaced(Plugins, instantiate_launcher=instantiate_launcher),
        replaced(Sweeper, validate_batch_is_legal=validate_batch_is_legal),
    ):
        yield


# --- worker processes
# --------------------------------------------------------------------------------------------------------------------


def _shares(jobs: Sequence[Sequence[str]], workers: int) -> list[list[int]]:
    """The places of the jobs that each worker does; those of a kind lie together."""
    kinds: dict[Any, list[int]] = {}
    for place, job in enumerate(jobs):
        kinds.setdefault(tuple(filter(_tells_kinds, job)), []).append(place)
    ordered = [place for alike in kinds.values() for place in alike]
    size = math.ceil(len(ordered) / workers)
    return [ordered[k : k + size] for k in range(0, len(ordered), size)]


def _tells_kinds(override: str) -> bool:
    """True where runs with another value are of another kind: a guess, since stacks are made of what is built."""
    name, _, value = override.partition("=")
    try:
        return name != "seed" and math.isfinite(float(value)) and float(value).is_integer()
    except ValueError:
        return True


def _in_workers(
    jobs: Sequence[Sequence[str]],
    shares: Sequence[Sequence[int]],
    threads: int,
    do: Callable[[Sequence[int], Callable[[int, JobReturn], object]], None],
) -> list[JobReturn]:
    """Let each process do its share, on so many threads; results are printed in the order of the jobs."""

    def work(share: Sequence[int], tell: Tell) -> None:
        load("torch", "torch._dynamo", "torch._inductor.config", "ppl_vae.cli.verbs.train", "ppl_vae.sweeps.lockstep")
        import torch

        torch.set_num_threads(min(threads, torch.get_num_threads()))
        said = io.StringIO()

        def done(place: int, job: JobReturn) -> None:
            tell((place, job.status, job._return_value, said.getvalue()))
            said.seek(said.truncate(0))

        with contextlib.redirect_stdout(said):
            do(share, done)

    found: dict[int, JobReturn] = {}
    texts: dict[int, str] = {}
    printed = 0

    def hear(number: int, told: tuple[int, JobStatus, Any, str]) -> None:
        nonlocal printed
        place, status, value, texts[place] = told
        found[place] = _returned(jobs[place], status, value)
        while printed in texts:
            print(texts.pop(printed), end="", flush=True)
            printed += 1

    codes = in_processes([functools.partial(work, share) for share in shares], hear)
    for place in sorted(texts):
        print(texts[place], end="", flush=True)
    for share, code in zip(shares, codes, strict=True):
        lost = [place for place in share if place not in found]
        why = f"their process was ended by signal {-code}" if code < 0 else f"their process ended with code {code}"
        if lost:
            warn(f"ppl-vae train: {len(lost)} jobs have not come to their end, since {why}")
        for place in lost:
            found[place] = _returned(jobs[place], JobStatus.FAILED, JobFailed(why))
    return [found[place] for place in range(len(jobs))]


def _returned(job: Sequence[str], status: JobStatus, value: Any) -> JobReturn:
    """The job as `run_job` gave it in another process, without configs."""
    name = JobRuntime.instance().get("name")
    here = os.getcwd()  # noqa: PTH109
    return JobReturn(list(job), working_dir=here, task_name=name, status=status, _return_value=value)


@contextlib.contextmanager
def _ahead(
    composed: Sequence[DictConfig], at_once: int, ahead: dict[Path, Any], loaded: dict[str, Dataset]
) -> Iterator[None]:
    """Train the jobs, and lay each `ahead` for its turn. Those whose turn does not come are interrupted runs."""
    from ppl_vae.cli.hydra import standard_output_for_results
    from ppl_vae.cli.verbs import train

    begun: dict[Path, Begun] = {}
    try:
        with standard_output_for_results():
            for config in composed:
                with _in_hydra(config) as (cfg, context):
                    if cfg is not None and (made := train.begun_ahead(cfg, context, loaded)) is not None:
                        begun[context.directory] = made
            _train_together(list(begun.values()), at_once)
        ahead.update(begun)
        yield
    finally:
        for directory, job in begun.items():
            ahead.pop(directory, None)
            if not job.taken:
                job.recorder.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


def _train_together(jobs: Sequence[Begun], at_once: int) -> None:
    """Train all in lockstep, and leave with each how it went."""
    from ppl_vae.sweeps.lockstep import fit_together

    if not jobs:
        return
    say(f"{len(jobs)} jobs are trained together, each as it would be alone …")
    outcomes = fit_together([job.arguments for job in jobs], progress=say, at_once=at_once)
    for job, outcome in zip(jobs, outcomes, strict=True):
        job.outcome = outcome
        if outcome.alone:
            say(f"job {job.number}: trained alone ({outcome.alone})")


@contextlib.contextmanager
def _in_hydra(config: DictConfig) -> Iterator[tuple[Any, Any]]:
    """A job's own config and context, as `run_job` will give them; None where its process is to be another's."""
    from ppl_vae.cli.hydra import context_of
    from ppl_vae.config.schema import validated

    hydra = HydraConfig.instance()
    before = hydra.cfg
    hydra.set_config(config)
    try:
        directory = os.path.join(str(config.hydra.sweep.dir), str(OmegaConf.select(config, "hydra.sweep.subdir")))  # noqa: PTH118
        runtime: Any = HydraConfig.get().runtime
        with read_write(runtime), open_dict(runtime):
            runtime.output_dir = os.path.abspath(directory)  # noqa: PTH100
        if config.hydra.job.chdir or config.hydra.job.env_set:
            say(f"job {config.hydra.job.num}: done alone (hydra.job.chdir or hydra.job.env_set is set)")
            yield None, None
            return
        try:
            cfg = validated("train", OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
        except Exception:  # told in its turn
            yield None, None
            return
        yield cfg, context_of("train")
    finally:
        hydra.cfg = before
