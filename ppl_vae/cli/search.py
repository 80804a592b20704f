"""`hydra/sweeper=optuna`, `hydra/sweeper=halving`: sweepers that choose their jobs, or end them, by what comes of them.

Both decide from what is on the disk alone: the plan, the study, the runs. So they go on where they were ended.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from ppl_vae import rng
from ppl_vae.cli.progress import say
from ppl_vae.config.schema import near
from ppl_vae.errors import RunError, UsageError
from ppl_vae.runs.files import write_atomically
from ppl_vae.runs.metrics import rows_of
from ppl_vae.runs.recorder import RunWriter
from ppl_vae.sweeps.plan import MULTIRUN
from ppl_vae.sweeps.space import Space
from ppl_vae.sweeps.stop import saved_rows
from ppl_vae.sweeps.study import JOURNAL, PRUNERS, SAMPLERS, Study, require_optuna
from ppl_vae.sweeps.sweep import ENDED, Job, Sweep
from ppl_vae.sweeps.trials import ELBO, Trial, metrics_of, trials_of
from ppl_vae.training.history import History

if TYPE_CHECKING:
    from ppl_vae.cli.sweep import Launched

EPOCHS = "trainer.epochs"


class Search(Sweeper):
    """Both sweepers, as far as they are one: a space, trials of a job for each seed, a plan that is written ahead.

    Args:
        launched: the sweep of this command.
        keys: those of `hydra.sweeper`, with what each must be; see `_checked`.
    """

    def __init__(self, launched: Launched, keys: Mapping[str, Any]) -> None:
        self.launched, self.keys = launched, keys

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Look at what was told before anything is written, then make the launcher that the config names."""
        self.config: Any = config
        self.hydra_context: Any = hydra_context
        if self.launched.verb != "train":
            raise UsageError(f"hydra.sweeper: a search trains, expected hydra/sweeper=basic for {self.launched.verb}")
        self.told = _checked(OmegaConf.to_container(config.hydra.sweeper), self.keys)
        self.check()
        self.launches: Any = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)

    def check(self) -> None:
        """Refuse what is told.

        Raises:
            UsageError: with what to type instead.
        """

    @property
    def loader(self) -> Any:
        """Hydra's, which composes."""
        return self.hydra_context.config_loader

    @property
    def directory(self) -> Path:
        """The folder of the sweep."""
        return Path(str(self.config.hydra.sweep.dir))

    @cached_property
    def space(self) -> Space:
        """The space that is searched: `hydra.sweeper.params`, and what was typed."""
        params = [f"{k}={v}" for k, v in self.told["params"].items()]
        return Space.read([*params, *self.arguments], self.told["average"], self.loader)

    def sweep(self, arguments: list[str]) -> Sequence[Any]:
        """Search."""
        self.arguments = arguments
        search = {**self.told, "seeds": self.space.seeds}
        del search["params"]
        self.search = search
        self.begin()
        note = self.directory / MULTIRUN
        if not note.exists():
            write_atomically(note, OmegaConf.to_yaml(self.config))
        self.run()
        return []

    @abstractmethod
    def begin(self) -> None:
        """Write the plan as far as it is known."""

    @abstractmethod
    def run(self) -> None:
        """Launch jobs until the search has ended."""

    def write(self, jobs: Sequence[Sequence[str]] = (), first: int = 0, **changes: Any) -> None:
        """Write the plan."""
        self.launched.write(self.config, self.loader, jobs, first, search=dict(self.search), **changes)

    def launch(self, trials: Sequence[int], values: Callable[[int], Mapping[str, Any]]) -> list[Trial]:
        """Launch the jobs of trials, and of those between, which know that they have ended; give what came of them."""
        numbers = range(min(trials), max(trials) + 1)
        jobs = [job for number in numbers for job in self.space.jobs(values(number))]
        for done in self.launches.launch(jobs, initial_job_idx=numbers[0] * self.space.seeds):
            if done.status == JobStatus.FAILED and not _told(done._return_value):
                raise done._return_value
        return [trial for trial in self.trials() if trial.number in trials]

    def trials(self) -> list[Trial]:
        """All trials, as they stand."""
        return trials_of(Sweep(self.directory).jobs, self.space.seeds)


class OptunaSweeper(Search):
    """Trials that are chosen one after the other, or several at once, by what those before them came to."""

    def check(self) -> None:
        """Refuse what is told."""
        require_optuna()
        self.metrics = metrics_of(self.told["metric"], self.told.pop("direction"))
        self.told["metrics"] = [[m.name, m.up] for m in self.metrics]
        del self.told["metric"]
        if self.told["pruner"] != "none" and self.told["metrics"] != [[ELBO, True]]:
            raise UsageError(
                f"hydra.sweeper.pruner={self.told['pruner']}: a pruner looks at {ELBO}, expected the search to "
                f"maximize that alone (hydra.sweeper.metric={ELBO}), or hydra.sweeper.pruner=none"
            )

    def begin(self) -> None:
        """Write the plan, of no job yet, then begin the study."""
        if self.search["pruner"] != "none" and self.space.seeds > 1 and EPOCHS in {d.name for d in self.space.searched}:
            raise UsageError(
                f"{EPOCHS} is searched, and a pruner that averages over seeds compares runs of as many epochs; "
                "expected hydra.sweeper.pruner=none, or one seed"
            )
        self.search["study_name"] = self.search["study_name"] or self.directory.absolute().name
        before = None if self.launched.resumed is None else self.launched.resumed.search
        if before:
            self.search["study_name"] = before["study_name"]
        if self.search["storage"] and "://" not in self.search["storage"]:
            self.search["storage"] = str(Path(self.search["storage"]).absolute())  # of whatever process a job is in
        self.write(complete=False)
        self.study = Study(self.directory, self.search)
        self.study.create(self.metrics, resumed=before is not None)
        if self.launched.resumed is not None and self.launched.resumed.jobs and not len(self.study):
            raise RunError(
                f"{self.directory}: its study is not there ({self.search['storage'] or JOURNAL}), expected what it had "
                "come to; put it back, or start a new search"
            )

    def run(self) -> None:
        """Ask and tell until there are as many trials as are to be."""
        waiting, batch, n = self.study.running(), self.told["n_jobs"], self.told["n_trials"]
        while waiting or len(self.study) < n:
            # trials of one batch are all asked before any is told: one that was killed while asking is made whole
            while len(self.study) < n and (not waiting or len(self.study) % batch):
                waiting.append(self._ask())
            for trial in self.launch(waiting, self.study.values):
                self.study.tell(trial, self.metrics)
            waiting = []
        self.write(complete=True)

    def _ask(self) -> int:
        values = self.study.choose(self.space)
        self.validate_batch_is_legal(self.space.jobs(values))
        return self.study.add(self.space, values)


class HalvingSweeper(Search):
    """All settings begin, the best of them go on: successive halving, in which runs are gone on with, not restarted."""

    def check(self) -> None:
        """Refuse what is told."""
        self.told["metrics"] = [[ELBO, True]]

    @cached_property
    def settings(self) -> list[dict[str, Any]]:
        """The values of each trial: every combination, or so many draws."""
        if (n := self.told["n"]) is None:
            return self.space.grid()
        size, seed = len(self.space.searched), self.told["seed"]
        found: list[dict[str, Any]] = []
        for i in range(100 * n):  # of a small space there may be no more than some
            values = self.space.at(np.random.default_rng(rng.derive(seed, i)).random(size))
            if values not in found:
                found.append(values)
            if len(found) == n:
                break
        return found

    @cached_property
    def rungs(self) -> list[int]:
        """The epochs after which runs are ranked, the full number last."""
        full = int(self.config.trainer.epochs)
        found = [self.told["min_epochs"]]
        while found[-1] * self.told["eta"] < full:
            found.append(found[-1] * self.told["eta"])
        return [*(e for e in found if e < full), full]

    def begin(self) -> None:
        """Write the plan, of all jobs."""
        if EPOCHS in {d.name for d in self.space.searched}:
            raise UsageError(f"{EPOCHS} is searched, and halving trains the best of all runs to as many epochs")
        if self.config.trainer.steps is not None:
            raise UsageError("trainer.steps: halving counts epochs, expected trainer.epochs alone")
        jobs = [job for values in self.settings for job in self.space.jobs(values)]
        if self.launched.resumed is None:
            self.validate_batch_is_legal(jobs)
        self.write(jobs, complete=False)
        self.write(complete=True)

    def run(self) -> None:
        """Train all until a rung, rank them, prune all but the best, and so on.

        What was done before is found again: who had how many epochs at a rung is in the runs' files.
        """
        left = list(range(len(self.settings)))
        for until in self.rungs:
            there = partial(_there, epochs=until if until != self.rungs[-1] else math.inf)
            trials = [t for t in self.trials() if t.number in left]
            missing = [t.number for t in trials if not all(there(job) for job in t.jobs)]
            self.search["until"] = until
            if missing:
                self.write()
                say(f"{len(left)} of {len(self.settings)} trials are trained to epoch {until} …")
                self.launch(missing, self.settings.__getitem__)
                trials = [t for t in self.trials() if t.number in left]
            late = [job.number for t in trials for job in t.jobs if not there(job)]
            if late:
                raise RunError(
                    f"jobs {', '.join(map(str, late))} have not come to epoch {until}, at which runs are ranked; "
                    "expected all. Go on when no other process trains them"
                )
            if until != self.rungs[-1]:
                left = self._best(trials, until)
        self.write()  # where nothing was missing

    def _best(self, trials: Sequence[Trial], until: int) -> list[int]:
        """Keep the best trials of a rung, and prune the others."""
        scores = {t.number: t.elbo(until) for t in trials if t.state != "failed"}
        order = sorted(scores, key=lambda n: (not np.isfinite(scores[n]), -scores[n], n))
        kept = order[: max(1, len(trials) // self.told["eta"])]
        for trial in trials:
            for job in () if trial.number in kept else trial.jobs:
                if job.state not in ENDED:
                    _prune(job)
        return sorted(kept)


def _there(job: Job, epochs: float) -> bool:
    """True for a job that has ended, or waits after so many epochs, with all of them saved."""
    if job.state in ENDED:
        return True
    return job.state == "interrupted" and job.run is not None and len(saved_rows(job.run.directory)) >= epochs


def _prune(job: Job) -> None:
    assert job.run is not None
    history = History(rows_of(job.run.directory), keep=job.run.config.trainer.keep)
    with RunWriter(job.run.directory, resume=True) as writer:
        writer.end("pruned", result=history.result)


def _told(error: Any) -> bool:
    """True for the failure of a job, which its files tell."""
    from ppl_vae.cli.hydra import JobFailed

    return isinstance(error, JobFailed)


# --- what a config may say
# ---------------------------------------------------------------------------------------------------------------------


def _whole(least: int, none: bool = False) -> Callable[[Any], str]:
    def wrong(value: Any) -> str:
        fine = isinstance(value, int) and not isinstance(value, bool) and value >= least
        return "" if fine or (none and value is None) else f"a whole number of at least {least}{' or null' * none}"

    return wrong


def _one_of(words: Sequence[str]) -> Callable[[Any], str]:
    return lambda value: "" if value in words else near(str(value), words)


def _text(value: Any) -> str:
    return "" if value is None or (isinstance(value, str) and value) else "a text or null"


def _names(value: Any) -> str:
    fine = isinstance(value, list) and all(isinstance(v, str) for v in value)
    return "" if fine else "a list of keys, such as [seed]"


def _anything(value: Any) -> str:
    return ""


def _params(value: Any) -> str:
    return "" if value is None or isinstance(value, dict) else "keys with what is searched of each"


KEYS: dict[str, tuple[type[Search], dict[str, Callable[[Any], str]]]] = {
    "ppl_vae.cli.search.OptunaSweeper": (
        OptunaSweeper,
        {
            "n_trials": _whole(1),
            "n_jobs": _whole(1),
            "sampler": _one_of(SAMPLERS),
            "seed": _whole(0),
            "startup_trials": _whole(0),
            "metric": _anything,
            "direction": _anything,
            "average": _names,
            "pruner": _one_of(PRUNERS),
            "warmup_epochs": _whole(0),
            "study_name": _text,
            "storage": _text,
            "params": _params,
        },
    ),
    "ppl_vae.cli.search.HalvingSweeper": (
        HalvingSweeper,
        {
            "n": _whole(1, none=True),
            "eta": _whole(2),
            "min_epochs": _whole(1),
            "seed": _whole(0),
            "average": _names,
            "params": _params,
        },
    ),
}
"""The sweepers by their targets, each with its keys and what is wrong with a value."""


def _checked(node: Any, keys: Mapping[str, Callable[[Any], str]]) -> dict[str, Any]:
    """The keys of `hydra.sweeper`, all there and each as it must be.

    Raises:
        UsageError: naming the key.
    """
    told = {str(k): v for k, v in node.items() if k != "_target_"}
    for name in told:
        if name not in keys:
            raise UsageError(f"hydra.sweeper.{name}: no key of this sweeper; {near(name, keys)}")
    for name, wrong in keys.items():
        if name not in told:
            raise UsageError(f"hydra.sweeper.{name} is not there, expected all keys of conf/hydra/sweeper")
        if expected := wrong(told[name]):
            raise UsageError(
                f"hydra.sweeper.{name}: got {told[name]}, {'' if 'expected' in expected else 'expected '}{expected}"
            )
    return told | {"params": told["params"] or {}}


def sweeper(node: Any, launched: Launched) -> Search | None:
    """The sweeper of ours that a config names; Hydra by itself takes those of its own packages only."""
    kind, keys = KEYS.get("" if node is None else str(node.get("_target_")), (None, {}))
    return None if kind is None else kind(launched, keys)
