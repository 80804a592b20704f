"""Callbacks that stop training: at a value of a column, and within a time.

A callback of `fit` is anything that is called with the row of each epoch. Where it answers True, training stops there,
with all state saved. Where it has a method `start`, that is called before the first step with the rows so far: none, or
where a run is gone on with, those of the epochs before. What it knows of them is made anew, so that a resumed run stops
where the uninterrupted one does; its answer counts, too. A run that was stopped stays so when it is gone on with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ppl_vae.doors import doors
from ppl_vae.errors import ArgumentError, near_names

__all__ = ["TimeLimit", "Until"]

Row = Mapping[str, Any]
Callback = Callable[[Any], object]


class TimeLimit:
    """Stops before the epoch with which training would take longer than so many minutes.

    Epochs are taken to be as long as the last one; one is made in any case. Time is the sum of the column `seconds`,
    that of earlier processes of the run with it: of steps and validation, not of what comes before and after (reading
    data, evaluation, figures).

    Args:
        minutes: of training.

    Raises:
        ArgumentError: the limit is no number above 0.

    Example:
        >>> limit = TimeLimit(minutes=1)
        >>> [limit({"epoch": n, "seconds": 25.0}) for n in (1, 2)]
        [False, True]
    """

    def __init__(self, minutes: float) -> None:
        if not 0 < minutes < math.inf:
            raise ArgumentError(f"Got minutes={minutes!r}, expected a number above 0.")
        self.minutes = minutes
        self._spent = 0.0

    def start(self, rows: Sequence[Row]) -> bool:
        """Count what earlier processes of the run have spent."""
        self._spent = 0.0
        answers = [self(row) for row in rows]
        return any(answers)

    def __call__(self, row: Row) -> bool:
        """Count an epoch; True if another one would be too much."""
        self._spent += row["seconds"]
        return self._spent + row["seconds"] > 60 * self.minutes


class Until:
    """Stops after the epoch in which a column is at least so large: a bound that is good enough.

    Args:
        least: value to reach, in nats per datum for a bound.
        column: of the rows of metrics, such as `train/bound`.

    Raises:
        ArgumentError: when called, the rows have no such column.

    Example:
        >>> until = Until(-90.0)
        >>> [until({"validation/bound": value}) for value in (-95.0, -89.5)]
        [False, True]
    """

    def __init__(self, least: float, column: str = "validation/bound") -> None:
        self.least, self.column = least, column

    def start(self, rows: Sequence[Row]) -> bool:
        """Look at the epochs before."""
        return any(map(self, rows))

    def __call__(self, row: Row) -> bool:
        """Look at an epoch; True if it is reached."""
        if self.column not in row:
            near = near_names(self.column, row)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise ArgumentError(
                f"Got column={self.column!r}, expected one of the rows of this run. {hint}They have: {', '.join(row)}."
            )
        return bool(row[self.column] >= self.least)


def ask(callbacks: Sequence[Callback], row: Row) -> list[str]:
    """Call all with the row of an epoch; give the names of those that stop training."""
    return [_name(callback) for callback in callbacks if _is_true(callback(dict(row)))]


def start(callbacks: Sequence[Any], rows: Sequence[Row]) -> list[str]:
    """Tell those that ask for it the rows so far; give the names of those that stop training."""
    asking = [callback for callback in callbacks if callable(getattr(callback, "start", None))]
    return [_name(callback) for callback in asking if _is_true(callback.start([dict(row) for row in rows]))]


def _is_true(answer: object) -> bool:
    """True for the truth alone: callbacks may give back what they like."""
    return isinstance(answer, (bool, np.bool_)) and bool(answer)


def _name(callback: Any) -> str:
    while hasattr(callback, "func"):  # of a partial
        callback = callback.func
    return getattr(callback, "__name__", type(callback).__name__)


doors(__name__)
