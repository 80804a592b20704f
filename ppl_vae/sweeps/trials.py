"""The trials of a search: jobs of one setting, whose figures are averaged, and what they are ranked by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ppl_vae.config.schema import near
from ppl_vae.errors import UsageError
from ppl_vae.runs.metrics import rows_of
from ppl_vae.runs.run import Run
from ppl_vae.sweeps.compare import DIRECTIONS, PARTS, Metric
from ppl_vae.sweeps.sweep import ENDED, Job
from ppl_vae.training.history import History

ELBO = "validation/elbo"
SIDES = {"maximize": True, "minimize": False}
"""What a direction is called, and whether higher is better."""


@dataclass(frozen=True)
class Trial:
    """The jobs of one setting.

    Attributes:
        number: counted from 0.
        jobs: one per seed.
    """

    number: int
    jobs: tuple[Job, ...]

    @property
    def state(self) -> Literal["finished", "pruned", "failed", "left"]:
        """Of the trial as a whole: failed if a job has, left while one has not ended, pruned if one was."""
        states = {job.state for job in self.jobs}
        if states - set(ENDED):
            return "left"
        if states & {"failed", "refused"}:
            return "failed"
        return "pruned" if "pruned" in states else "finished"

    def value(self, name: str) -> float:
        """A figure of what the jobs have ended with, averaged over them; NaN where one has not got it."""
        return float(np.mean([_figure(job, name) for job in self.jobs]))

    def elbo(self, epochs: int) -> float:
        """The validation ELBO after so many epochs, of each job's best weights until then, averaged over them."""
        return float(np.mean([elbo_after(job.run, epochs) for job in self.jobs]))


def trials_of(jobs: Sequence[Job], seeds: int) -> list[Trial]:
    """Jobs by trial, so many of each."""
    found: dict[int, list[Job]] = {}
    for job in jobs:
        if job.planned:
            found.setdefault(job.number // seeds, []).append(job)
    return [Trial(number, tuple(jobs)) for number, jobs in sorted(found.items())]


def metrics_of(name: Any, direction: Any = None) -> tuple[Metric, ...]:
    """The figures that a search is told to optimize, one or several, each with the way that is better.

    Raises:
        UsageError: for what is no figure that one can be better by, naming the near ones.

    Example:
        >>> metrics_of(["validation/elbo", "seconds"])
        (Metric(name='validation/elbo', up=True), Metric(name='seconds', up=False))
    """
    names = list(name) if isinstance(name, (list, tuple)) else [name]
    legal = [f"{part}/{short}" for part in PARTS for short in DIRECTIONS if short != "seconds"] + ["seconds"]
    for one in names or [name]:
        if one not in legal:
            raise UsageError(f"hydra.sweeper.metric: got {one}; {near(str(one), legal)}")
    told = [] if direction is None else list(direction) if isinstance(direction, (list, tuple)) else [direction]
    for one in told:
        if one not in tuple(SIDES):
            raise UsageError(f"hydra.sweeper.direction: got {one}; {near(str(one), SIDES)}")
    if told and len(told) != len(names):
        raise UsageError(
            f"hydra.sweeper.direction: got {len(told)} for {len(names)} metrics, expected one of each (or null: "
            "whichever is better of the figure)"
        )
    ways = [SIDES[d] for d in told] or [DIRECTIONS[n.rpartition("/")[2]] for n in names]
    return tuple(Metric(n, up) for n, up in zip(names, ways, strict=True))


def best(trials: Sequence[Trial], metrics: Sequence[Metric]) -> list[Trial]:
    """The finished trials that no other beats in all metrics at once; of one metric the best one."""
    ended = [t for t in trials if t.state == "finished"]
    values = np.array([[t.value(m.name) * (1 if m.up else -1) for m in metrics] for t in ended])
    known = [i for i in range(len(ended)) if np.isfinite(values[i]).all()]
    front = [
        i for i in known if not any((values[j] >= values[i]).all() and (values[j] > values[i]).any() for j in known)
    ]
    return [ended[i] for i in front[: 1 if len(metrics) == 1 else None]]


def elbo_after(run: Run | None, epochs: int) -> float:
    """The validation ELBO of a run's best weights of its first epochs, nats per datum; NaN where it has none."""
    if run is None:
        return math.nan
    history = History([row for row in rows_of(run.directory) if row["epoch"] <= epochs])
    return math.nan if history.best is None else float(history.best.get(ELBO, math.nan))


def _figure(job: Job, name: str) -> float:
    if job.run is None:
        return math.nan
    if name == "seconds":
        return float(sum(row.get("seconds", 0.0) for row in rows_of(job.run.directory)))
    value = job.result.get(name)
    return float(value) if isinstance(value, (int, float)) else math.nan
