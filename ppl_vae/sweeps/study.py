"""The study of a search in Optuna's words: on the disk, so that the jobs of other processes and times find it.

A trial is chosen by a sampler that is seeded by the number of the trial, from what is on the disk alone, and written
there whole, in one line. So a search that is killed at any moment goes on to the trials that it would have come to.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from ppl_vae import rng
from ppl_vae.errors import RunError, UsageError
from ppl_vae.files.inside import content
from ppl_vae.sweeps.compare import Metric
from ppl_vae.sweeps.space import Dimension, Space
from ppl_vae.sweeps.trials import Trial

JOURNAL = "study.journal"
SAMPLERS = ("tpe", "random", "qmc")
PRUNERS = ("none", "median", "halving")


def require_optuna() -> Any:
    """Optuna, imported when a search needs it.

    Raises:
        UsageError: it is not there, or too old.
    """
    try:
        import optuna
    except ImportError:
        raise UsageError(
            "hydra/sweeper=optuna needs optuna, which is not there: pip install 'ppl-vae[sweeps]'"
        ) from None
    if int(optuna.__version__.partition(".")[0]) < 5:
        raise UsageError(f"Got optuna {optuna.__version__}, expected 5 or later: pip install 'ppl-vae[sweeps]'")
    return optuna


@dataclass(frozen=True)
class Study:
    """The study of one search.

    Args:
        directory: the folder of the sweep.
        search: what the search goes by, as its plan has it.
    """

    directory: Path
    search: Mapping[str, Any]

    def __len__(self) -> int:
        """The number of trials."""
        return len(self._trials())

    def create(self, metrics: tuple[Metric, ...], *, resumed: bool) -> None:
        """Begin it, or go on with it.

        Raises:
            UsageError: a storage of the user's own has a study of this name, or cannot be opened.
        """
        optuna = require_optuna()
        if not self.search["storage"]:
            _mend(self.directory / JOURNAL)
        name, ways = self.search["study_name"], ["maximize" if m.up else "minimize" for m in metrics]
        with _quiet():
            try:
                study = optuna.create_study(
                    storage=self._storage, study_name=name, directions=ways, load_if_exists=resumed
                )
            except optuna.exceptions.DuplicatedStudyError:
                raise UsageError(
                    f"hydra.sweeper.study_name: {self.search['storage']} holds a study {name} already, expected a new "
                    "name (to go on with its search: ppl-vae train -m resume=SWEEP)"
                ) from None
            if not study.get_trials(deepcopy=False):
                study.set_metric_names([m.name for m in metrics])

    # --- trials
    # -----------------------------------------------------------------------------------------------------------------

    def running(self) -> list[int]:
        """The numbers of the trials that were asked and not told."""
        return [t.number for t in self._trials() if not t.state.is_finished()]

    def values(self, number: int) -> dict[str, Any]:
        """The values that a trial tries."""
        return dict(self._trials()[number].params)

    def choose(self, space: Space) -> dict[str, Any]:
        """The values that the next trial is to try; nothing is written."""
        number, seed, dimensions = len(self), self.search["seed"], space.searched
        if self.search["sampler"] == "random":
            return space.at(np.random.default_rng(rng.derive(seed, number)).random(len(dimensions)))
        if self.search["sampler"] == "qmc":
            from scipy.stats import qmc

            sequence = qmc.Sobol(len(dimensions), seed=rng.derive(seed) % 2**32)
            if number:
                sequence.fast_forward(number)
            return space.at(sequence.random(1)[0])
        # A sampler asks a study that lies in memory: what it notes while it samples, step by step, is on no disk.
        optuna = require_optuna()
        with _quiet():
            sampler = optuna.samplers.TPESampler(
                seed=rng.derive(seed, number) % 2**32, n_startup_trials=self.search["startup_trials"]
            )
            copy = optuna.create_study(directions=self._study.directions, sampler=sampler)
            copy.add_trials(self._trials())
            found = copy.ask({d.name: _distribution(d) for d in dimensions}).params
            return {d.name: d.told(found[d.name]) for d in dimensions}

    def add(self, space: Space, values: Mapping[str, Any]) -> int:
        """Begin the next trial, and give its number."""
        optuna = require_optuna()
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=dict(values),
            distributions={d.name: _distribution(d) for d in space.searched},
        )
        self._study.add_trial(trial)
        return len(self) - 1

    def tell(self, trial: Trial, metrics: tuple[Metric, ...]) -> None:
        """Tell how a trial has ended; nothing of one that has not."""
        state, values = require_optuna().trial.TrialState, None
        if trial.state == "left":
            return
        if trial.state == "finished":
            values = [trial.value(m.name) for m in metrics]
        told = {"finished": state.COMPLETE, "pruned": state.PRUNED, "failed": state.FAIL}[trial.state]
        if values is not None and not np.isfinite(values).all():
            told, values = state.FAIL, None
        with _quiet():
            self._study.tell(trial.number, values, state=told, skip_if_finished=True)

    def report(self, number: int, step: int, value: float) -> bool:
        """Report a value of a trial at a step, and give whether it is to be pruned."""
        study = self._study
        study_id = self._storage.get_study_id_from_name(study.study_name)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
        self._storage.set_trial_intermediate_value(trial_id, step, value)
        return bool(study.pruner.prune(study, self._storage.get_trial(trial_id)))

    # --- as Optuna has it
    # -----------------------------------------------------------------------------------------------------------------

    @cached_property
    def _storage(self) -> Any:
        storages, where = require_optuna().storages, self.search["storage"]
        if where and "://" in where:
            try:
                return storages.get_storage(where)
            except Exception as error:
                raise UsageError(f"hydra.sweeper.storage={where}: {str(error).splitlines()[0]}") from error
        path = Path(where) if where else self.directory / JOURNAL
        # a lock that is gone with the process that held it
        lock: Any = FileLock(path.with_name(f".{path.name}.lock"))
        return storages.JournalStorage(storages.journal.JournalFileBackend(str(path), lock))

    @cached_property
    def _study(self) -> Any:
        optuna, warmup = require_optuna(), self.search["warmup_epochs"]
        pruners = {
            "none": optuna.pruners.NopPruner,
            "median": lambda: optuna.pruners.MedianPruner(self.search["startup_trials"], warmup),
            "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=max(1, warmup)),
        }
        with _quiet():
            try:
                return optuna.load_study(
                    study_name=self.search["study_name"],
                    storage=self._storage,
                    pruner=pruners[self.search["pruner"]](),
                )
            except KeyError as error:
                raise RunError(f"{self.directory}: its study is not there ({error}); start a new search") from error

    def _trials(self) -> Any:
        return self._study.get_trials(deepcopy=False)


def _distribution(dimension: Dimension) -> Any:
    """A dimension in Optuna's words."""
    distributions = require_optuna().distributions
    d = dimension
    if d.choices:
        return distributions.CategoricalDistribution(d.choices)
    if isinstance(d.step, int) and isinstance(d.low, int):
        return distributions.IntDistribution(d.low, d.high, log=d.log, step=d.step)
    return distributions.FloatDistribution(d.low, d.high, log=d.log, step=d.step)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says nothing within: what is said of a search is ours to say."""
    logging = require_optuna().logging
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


def _mend(path: Path) -> None:
    """Cut off the line that a process was killed in the midst of, to which the next one would be added."""
    if path.exists() and (written := content(path)) and not written.endswith(b"\n"):
        os.truncate(path, written.rfind(b"\n") + 1)
