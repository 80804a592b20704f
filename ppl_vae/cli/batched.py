"""`hydra/launcher=batched`: jobs of a sweep that differ in numbers alone are trained as one program.

All jobs are begun first, each as it would begin alone, then trained in lockstep. Only then each job has its turn, in
the ordinary way: it finds itself trained, evaluates, and makes what else it makes. A job that cannot be begun here does
all of it in its turn, and fails there as it would alone.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ppl_vae.cli.progress import say
from ppl_vae.cli.replaced import replaced
from ppl_vae.errors import UsageError

if TYPE_CHECKING:
    from ppl_vae.cli.verbs.train import Begun


TARGET = "ppl_vae.cli.batched.BatchedLauncher"


class BatchedLauncher(BasicLauncher):
    """Launches jobs in this process, those of one kind trained as one program.

    Args:
        at_once: the most runs in one program.

    Attributes:
        composed: configs of jobs that a sweeper has composed already, by their overrides.
    """

    def __init__(self, at_once: int = 64) -> None:
        super().__init__()
        self.at_once = at_once
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
        composed = [self._composed(list(job), initial_job_idx + k) for k, job in enumerate(job_overrides)]
        done: list[JobReturn] = []
        with _ahead(composed, self.at_once, job.ahead):
            for config in composed:
                done.append(
                    run_job(
                        hydra_context=self.hydra_context,
                        task_function=self.task_function,
                        config=config,
                        job_dir_key="hydra.sweep.dir",
                        job_subdir_key="hydra.sweep.subdir",
                    )
                )
                configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return done

    def _composed(self, overrides: list[str], number: int) -> DictConfig:
        assert self.config is not None
        assert self.hydra_context is not None
        config = self.composed.pop(tuple(overrides), None)
        if config is None:
            config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = number
            config.hydra.job.num = number
        return config


@contextlib.contextmanager
def launching() -> Iterator[None]:
    """Let Hydra make a `BatchedLauncher` where a config names it; of itself it takes those of its own packages only.

    Raises:
        UsageError: for a key that the launcher does not take.
    """
    launcher_of, validation_of = Plugins.instantiate_launcher, Sweeper.validate_batch_is_legal
    composed: dict[tuple[str, ...], DictConfig] = {}

    def validate_batch_is_legal(self: Any, batch: Sequence[Sequence[str]]) -> None:
        """Compose every job, as Hydra does, and keep what comes out: composing takes a quarter of a second."""
        node = self.config.hydra.launcher
        if node is None or node.get("_target_") != TARGET:
            validation_of(self, batch)
            return
        for job in batch:
            composed[tuple(job)] = self.hydra_context.config_loader.load_sweep_config(self.config, list(job))

    def instantiate_launcher(self: Plugins, hydra_context: Any, task_function: Any, config: Any) -> Launcher:
        node = config.hydra.launcher
        if node is None or node.get("_target_") != TARGET:
            return launcher_of(self, hydra_context, task_function, config)
        keys = {str(k): v for k, v in node.items() if k != "_target_"}
        if unknown := sorted(keys.keys() - {"at_once"}):
            raise UsageError(f"hydra.launcher.{unknown[0]}: no key of hydra/launcher=batched, expected at_once")
        if not isinstance(at_once := keys.get("at_once", 64), int) or isinstance(at_once, bool) or at_once < 2:
            raise UsageError(f"hydra.launcher.at_once: got {at_once}, expected a whole number of at least 2")
        launcher = BatchedLauncher(at_once)
        launcher.composed = composed
        launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        return launcher

    with (
        replaced(Plugins, instantiate_launcher=instantiate_launcher),
        replaced(Sweeper, validate_batch_is_legal=validate_batch_is_legal),
    ):
        yield


@contextlib.contextmanager
def _ahead(composed: Sequence[DictConfig], at_once: int, ahead: dict[Path, Any]) -> Iterator[None]:
    """Train the jobs, and lay each `ahead` for its turn. Those whose turn does not come are interrupted runs."""
    from ppl_vae.cli.hydra import standard_output_for_results
    from ppl_vae.cli.verbs import train

    begun: dict[Path, Begun] = {}
    try:
        with standard_output_for_results():
            for config in composed:
                with _in_hydra(config) as (cfg, context):
                    if cfg is not None and (made := train.begun_ahead(cfg, context)) is not None:
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
        own = copy.deepcopy(config)
        with read_write(own), open_dict(own):
            del own["hydra"]
        if config.hydra.job.chdir or config.hydra.job.env_set:
            say(f"job {config.hydra.job.num}: done alone (hydra.job.chdir or hydra.job.env_set is set)")
            yield None, None
            return
        try:
            cfg = validated("train", own)
        except Exception:  # told in its turn
            yield None, None
            return
        yield cfg, context_of("train")
    finally:
        hydra.cfg = before
