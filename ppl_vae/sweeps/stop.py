"""Jobs that a search ends before their end: pruned, or paused at a rung to go on from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ppl_vae.errors import PplVaeError
from ppl_vae.runs import checkpoints
from ppl_vae.runs.metrics import rows_of
from ppl_vae.sweeps.plan import Plan
from ppl_vae.sweeps.sweep import Job, Sweep
from ppl_vae.sweeps.trials import ELBO
from ppl_vae.training.history import Row


class Stop(Exception):  # noqa: N818 - what is wanted, and no fault
    """Ends a training from a callback, after an epoch and with all state saved.

    Args:
        status: of the run from now on; an interrupted one is to go on.
        why: in words.
    """

    def __init__(self, status: Literal["pruned", "interrupted"], why: str) -> None:
        super().__init__(status, why)
        self.status, self.why = status, why


@dataclass
class Watch:
    """The callback of a job of a search: told after each epoch, it raises `Stop` where the job is to end.

    Args:
        sweep: the folder of the search.
        plan: of it.
        number: of the job.
        epochs: of the whole run.
    """

    sweep: Path
    plan: Plan
    number: int
    epochs: int
    _before: list[list[Row]] | None = field(default=None, repr=False)

    def __call__(self, row: Row) -> None:
        """Look at the row of an epoch.

        Raises:
            Stop: the job is to end here.
        """
        search, epoch = self.plan.search, int(row["epoch"])
        until = search.get("until")
        if until is not None and until <= epoch < self.epochs:
            raise Stop("interrupted", f"waits after epoch {epoch}")
        if search.get("pruner", "none") != "none" and epoch < self.epochs and self._prunes(row, epoch):
            raise Stop("pruned", f"pruned after epoch {epoch}")

    def begin(self, directory: Path) -> None:
        """Look at what there is before training goes on: the last epoch, which may not have been looked at, and seeds.

        Raises:
            Stop: there is nothing to train.
        """
        if any(job.state == "pruned" for job in self._others()):
            raise Stop("pruned", "pruned, as its trial was")
        if rows := saved_rows(directory):
            self(rows[-1])

    def _prunes(self, row: Row, epoch: int) -> bool:
        """Report the mean over the seeds that were done before this job began, and this one."""
        from ppl_vae.sweeps.study import Study

        if ELBO not in row:
            raise PplVaeError(
                "hydra.sweeper.pruner: got no validation data, whose ELBO a pruner looks at; expected some"
            )
        trial, place = divmod(self.number, self.plan.search["seeds"])
        if self._before is None:
            done = [job for job in self._others() if job.number < self.number and job.state == "finished"]
            self._before = [rows_of(job.run.directory) for job in done if job.run is not None]
        values = [row[ELBO], *(_at(rows, epoch) for rows in self._before)]
        return Study(self.sweep, self.plan.search).report(trial, place * self.epochs + epoch, float(np.mean(values)))

    def _others(self) -> list[Job]:
        """The other jobs of the same trial."""
        seeds = self.plan.search.get("seeds", 1)
        if seeds == 1:
            return []
        mine = range(self.number // seeds * seeds, (self.number // seeds + 1) * seeds)
        return [job for job in Sweep(self.sweep).jobs if job.number in mine and job.number != self.number]


def saved_rows(directory: Path) -> list[Row]:
    """The epochs that a run goes on from: those of its checkpoint; one that was killed may have rows of more."""
    saved = checkpoints.last(directory)
    return [] if saved is None else rows_of(directory)[: saved.state["rows"]]


def _at(rows: Sequence[Any], epoch: int) -> float:
    """The validation ELBO after an epoch, or after the last one of a run that has stopped before."""
    return float([row for row in rows if row["epoch"] <= epoch][-1][ELBO])
