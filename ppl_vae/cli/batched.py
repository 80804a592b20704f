"""`hydra/launcher=batched`: jobs of a sweep that differ in numbers alone are trained as one program.

The jobs are shared out among worker processes, those of a kind together. In each, all are begun first, each as it would
begin alone, then trained in lockstep. Only then each job has its turn, in the ordinary way: it finds itself trained,
evaluates, and makes what else it makes. A job that cannot be begun before its turn does all of it in its turn, and
fails there as it would alone.
"""

from __future__ import annotations

import contextlib
import copy
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

from ppl_vae.cli import alike
from ppl_vae.cli.hydra import JobFailed
from ppl_vae.cli.progress import say
from ppl_vae.cli.replaced import replaced
from ppl_vae.cli.workers import FORKS, Tell, cores, in_processes
from ppl_vae.errors import UsageError

if TYPE_CHECKING:
    from ppl_vae.cli.verbs.train import Begun
    from ppl_vae.datasets import Dataset


TARGET = "ppl_vae.cli.batched.BatchedLauncher"

RUNS = 8
"""The fewest jobs that make a worker process worth while: each records and verifies its stacks anew."""


class BatchedLauncher(BasicLauncher):
    """Launches jobs, those of one kind trained as one program.

    Args:
        at_once: the most runs in one program.
        workers: processes that share the jobs; None for one a core, as far as each has `RUNS` jobs. One of them is this
            process.

    Attributes:
        composed: configs of jobs that a sweeper has composed already, by their overrides.
    """

    def __init__(self, at_once: int = 64, workers: int | None = None) -> None:
        super().__init__()
        self.at_once, self.workers = at_once, workers
        self.composed: dict[tuple[str, ...], DictConfig] = {}

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
        composed = self._composed(job_overrides, initial_job_idx)
        workers = self.workers or min(cores(), max(1, len(composed) // RUNS))
        if workers > 1:
            job.is_heard = True
            return _in_workers(composed, _shares(composed, workers), self._do)
        done: list[JobReturn] = []
        self._do(composed, done.append)
        return done

    def _do(self, composed: Sequence[DictConfig], tell: Callable[[JobReturn], object]) -> None:
        """Train all in this process, then give each job its turn."""
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        with _ahead(composed, self.at_once, self.task_function.job.ahead):  # type: ignore[attr-defined]
            for config in composed:
                tell(
                    run_job(
                        hydra_context=self.hydra_context,
                        task_function=self.task_function,
                        config=config,
                        job_dir_key="hydra.sweep.dir",
                        job_subdir_key="hydra.sweep.subdir",
                    )
                )
                configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)

    def _composed(self, jobs: Sequence[Sequence[str]], first: int) -> list[DictConfig]:
        assert self.config is not None
        assert self.hydra_context is not None
        found = [self.composed.pop(tuple(job), None) for job in jobs]
        if any(config is None for config in found):
            load = self.hydra_context.config_loader.load_sweep_config
            found = list(alike.composed(functools.partial(load, self.config), jobs))
        for number, config in enumerate(found, first):
            assert config is not None
            with open_dict(config):
                config.hydra.job.id = number
                config.hydra.job.num = number
        return found  # type: ignore[return-value]


@contextlib.contextmanager
def launching() -> Iterator[None]:
    """Let Hydra make a `BatchedLauncher` where a config names it; of itself it takes those of its own packages only.

    Raises:
        UsageError: for a key that the launcher does not take.
    """
    launcher_of, validation_of = Plugins.instantiate_launcher, Sweeper.validate_batch_is_legal
    composed: dict[tuple[str, ...], DictConfig] = {}

    def validate_batch_is_legal(self: Any, batch: Sequence[Sequence[str]]) -> None:
        """Compose every job, as Hydra does, and keep what comes out."""
        node = self.config.hydra.launcher
        if node is None or node.get("_target_") != TARGET:
            validation_of(self, batch)
            return
        load = functools.partial(self.hydra_context.config_loader.load_sweep_config, self.config)
        composed.update(zip(map(tuple, batch), alike.composed(load, batch), strict=True))

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
        launcher.composed = composed
        launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        return launcher

    with (
        replaced(Plugins, instantiate_launcher=instantiate_launcher),
        replaced(Sweeper, validate_batch_is_legal=validate_batch_is_legal),
    ):
        yield


# --- worker processes
# --------------------------------------------------------------------------------------------------------------------


def _shares(composed: Sequence[DictConfig], workers: int) -> list[list[int]]:
    """The places of the jobs that each worker does; those of a kind lie together."""
    kinds: dict[str, list[int]] = {}
    for place, config in enumerate(composed):
        kinds.setdefault(_kind(config), []).append(place)
    ordered = [place for alike in kinds.values() for place in alike]
    size = math.ceil(len(ordered) / workers)
    return [ordered[k : k + size] for k in range(0, len(ordered), size)]


def _kind(config: DictConfig) -> str:
    """A config but for what does not keep runs apart: a guess, since the stacks are made of what is built."""

    def blank(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: blank(v) for k, v in value.items()}
        return [blank(v) for v in value] if isinstance(value, list) else float if isinstance(value, float) else value

    plain: Any = OmegaConf.to_container(config, resolve=False)
    return repr(blank({k: v for k, v in plain.items() if k not in ("hydra", "seed", "name")}))


def _in_workers(
    composed: Sequence[DictConfig],
    shares: Sequence[Sequence[int]],
    do: Callable[[Sequence[DictConfig], Callable[[JobReturn], object]], None],
) -> list[JobReturn]:
    """Let each process do its share; results are printed in the order of the jobs."""
    threads = max(1, cores() // len(shares))

    def work(share: Sequence[int], tell: Tell) -> None:
        import torch

        torch.set_num_threads(min(threads, torch.get_num_threads()))
        places, said = iter(share), io.StringIO()

        def done(job: JobReturn) -> None:
            tell((next(places), job.status, job._return_value, said.getvalue()))
            said.seek(said.truncate(0))

        with contextlib.redirect_stdout(said):
            do([composed[place] for place in share], done)

    found: dict[int, JobReturn] = {}
    texts: dict[int, str] = {}
    printed = 0

    def hear(number: int, told: tuple[int, JobStatus, Any, str]) -> None:
        nonlocal printed
        place, status, value, texts[place] = told
        found[place] = _returned(composed[place], status, value)
        while printed in texts:
            print(texts[printed], end="", flush=True)
            printed += 1

    codes = in_processes([functools.partial(work, share) for share in shares], hear)
    for text in (texts[place] for place in sorted(texts) if place >= printed):
        print(text, end="", flush=True)
    for share, code in zip(shares, codes, strict=True):
        for place in share:
            if place not in found:
                lost = JobFailed(f"job {place}: its process ended with exit code {code}")
                found[place] = _returned(composed[place], JobStatus.FAILED, lost)
    return [found[place] for place in range(len(composed))]


def _returned(config: DictConfig, status: JobStatus, value: Any) -> JobReturn:
    """What `run_job` gave in another process, whose configs are those of this one."""
    overrides: Any = OmegaConf.to_container(config.hydra.overrides.task)
    name = JobRuntime.instance().get("name")
    return JobReturn(overrides, _own(config), config, os.getcwd(), name, status, value)  # noqa: PTH109


def _own(config: DictConfig) -> DictConfig:
    own = copy.deepcopy(config)
    with read_write(own), open_dict(own):
        del own["hydra"]
    return own


@contextlib.contextmanager
def _ahead(composed: Sequence[DictConfig], at_once: int, ahead: dict[Path, Any]) -> Iterator[None]:
    """Train the jobs, and lay each `ahead` for its turn. Those whose turn does not come are interrupted runs."""
    from ppl_vae.cli.hydra import standard_output_for_results
    from ppl_vae.cli.verbs import train

    begun: dict[Path, Begun] = {}
    loaded: dict[str, Dataset] = {}
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
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = os.path.abspath(directory)  # noqa: PTH100
        hydra.set_config(config)
        if config.hydra.job.chdir or config.hydra.job.env_set:
            say(f"job {config.hydra.job.num}: done alone (hydra.job.chdir or hydra.job.env_set is set)")
            yield None, None
            return
        try:
            cfg = validated("train", _own(config))
        except Exception:  # told in its turn
            yield None, None
            return
        yield cfg, context_of("train")
    finally:
        hydra.cfg = before
