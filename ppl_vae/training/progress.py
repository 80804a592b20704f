"""Progress of training: a bar in a terminal, a line of its own in a notebook, plain lines on standard error else."""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, Protocol

from ppl_vae.display import View
from ppl_vae.training.history import History, Row

Progress = bool | Literal["warnings"] | None
"""What is to be shown, see `fit`."""


class Reporter(Protocol):
    """Shows how training goes; a context."""

    seconds: float
    """The number of steps between two calls of `step`."""

    def __enter__(self) -> Reporter: ...
    def __exit__(self, *exception: object) -> None: ...
    def step(self, step: int, epoch: int, bound: float) -> None:
        """So many steps are done; `bound` is the running average of the epoch."""
        ...

    def epoch(self, row: Row, best: bool) -> None:
        """An epoch is done."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line."""
        ...

    def done(self, history: History) -> None:
        """Training is over."""
        ...


class Quiet:
    """Shows nothing."""

    seconds = 2.0

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *exception: object) -> None: ...
    def step(self, step: int, epoch: int, bound: float) -> None: ...  # noqa: D102
    def epoch(self, row: Row, best: bool) -> None: ...  # noqa: D102
    def note(self, text: str) -> None: ...  # noqa: D102
    def done(self, history: History) -> None: ...  # noqa: D102


class Warnings(Quiet):
    """Shows warnings alone."""

    def note(self, text: str) -> None:  # noqa: D102
        if text.startswith("warning: "):
            print(text, file=sys.stderr, flush=True)


class Lines(Quiet):
    """One line per epoch; where there are hundreds, about a hundred lines in all.

    Args:
        epochs: how many there will be.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.every = math.ceil(epochs / 100) or 1

    def epoch(self, row: Row, best: bool) -> None:  # noqa: D102
        number = int(row["epoch"])
        if number % self.every == 0 or number in (0, 1, self.epochs):
            self.note(
                f"epoch {number:>{len(str(self.epochs))}}/{self.epochs}  {summary(row)}{'  best' if best else ''}"
            )

    def note(self, text: str) -> None:  # noqa: D102
        print(text, file=sys.stderr, flush=True)


class Bar(Quiet):
    """A rich progress bar: steps, rate, bound, time left.

    It is redrawn from the training loop, five times a second at most, by no thread; standard output is not
    touched.
    """

    seconds = 0.2

    def __init__(self, steps: int, epochs: int, done: int = 0) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.steps, self.epochs = max(1, steps), epochs
        console = Console(stderr=True)
        bar = min(24, console.width - 76)
        self._room = console.width - (bar + 1 if bar >= 4 else 0)
        self._bar = Progress(
            *([BarColumn(bar_width=bar)] if bar >= 4 else []),
            TextColumn("{task.description}", markup=False),
            console=console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=True,  # what callbacks and programs print stands above the bar
        )
        self._task = self._bar.add_task(f"epoch 0/{epochs}", total=self.steps, completed=done)
        self._last: Row = {}
        self._start, self._first = time.monotonic(), done

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.refresh()
        self._bar.stop()

    def step(self, step: int, epoch: int, bound: float) -> None:  # noqa: D102
        rate = (step - self._first) / max(1e-9, time.monotonic() - self._start)
        told = glance((step, self.steps), (epoch, self.epochs), bound, rate, self._last)
        self._bar.update(self._task, completed=step, description=fitting(told, self._room), refresh=True)

    def epoch(self, row: Row, best: bool) -> None:  # noqa: D102
        self._last = row

    def note(self, text: str) -> None:  # noqa: D102
        self._bar.console.print(text, markup=False, highlight=False)

    def done(self, history: History) -> None:  # noqa: D102
        row = history.last
        if row and "train/bound" in row:
            self.step(int(row["step"]), int(row["epoch"]), row["train/bound"])


class Cell(Quiet):
    """A bar and a line below a notebook's cell, which take the place of those before; at the end the line stays.

    Args:
        show: puts a view below the cell, and returns what replaces it there.
        steps: how many there will be.
        epochs: how many there will be.
        done: steps that were done before.
    """

    seconds = 0.5

    def __init__(
        self, show: Callable[[View], Callable[[View], object]], steps: int, epochs: int, done: int = 0
    ) -> None:
        self.steps, self.epochs = max(1, steps), epochs
        self._step, self._first, self._start = done, done, time.monotonic()
        self._line, self._notes = f"epoch 0/{epochs}", list[str]()
        self._last: Row = {}
        self._replace = show(self._view())

    def __exit__(self, *exception: object) -> None:
        self._replace(View(self._line, notes=self._notes))

    def step(self, step: int, epoch: int, bound: float) -> None:  # noqa: D102
        self._step = step
        rate = (step - self._first) / max(1e-9, time.monotonic() - self._start)
        self._line = ", ".join(glance((step, self.steps), (epoch, self.epochs), bound, rate, self._last))
        self._replace(self._view())

    def epoch(self, row: Row, best: bool) -> None:  # noqa: D102
        self._last = row

    def note(self, text: str) -> None:  # noqa: D102
        self._notes.append(text)
        self._replace(self._view())

    def done(self, history: History) -> None:  # noqa: D102
        row, n = history.kept, len(history)
        which = f" of epoch {int(row['epoch'])}, whose weights are kept" if row else ""
        figures = {k.replace("/", " "): row[k] for k in ("train/bound", "validation/bound") if k in row} if row else {}
        told = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
        seconds = sum(r.get("seconds", 0.0) for r in history)
        self._line = f"{n} epoch{'s' * (n != 1)} in {seconds:.1f} s" + (f": {told}{which}" if told else "")

    def _view(self) -> View:
        bar = f'<progress value="{self._step}" max="{self.steps}" style="width:24em;max-width:100%"></progress>'
        return View(self._line, notes=self._notes, pictures=(bar,))


def notebook() -> Callable[[View], Callable[[View], object]] | None:
    """A function that shows a view below the cell that runs; None where this is no notebook."""
    interactive: Any = sys.modules.get("IPython")  # never imported here: where it runs, it is there
    shell = interactive.get_ipython() if interactive is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    display = importlib.import_module("IPython.display").display

    def show(view: View) -> Callable[[View], object]:
        replace: Callable[[View], object] = display(view, display_id=True).update
        return replace

    return show


def glance(step: tuple[int, int], epoch: tuple[int, int], bound: float, rate: float, last: Row) -> list[str]:
    """The state of training, a few words each, those that matter most first.

    Args:
        step: the number of steps done, and of all.
        epoch: the number of the epoch, and of all.
        bound: the running average of the epoch.
        rate: steps a second.
        last: the row of the epoch before.

    Example:
        >>> glance((5, 20), (1, 4), -23.456, 2.5, {})
        ['epoch 1/4', 'bound -23.46', '5/20 steps', '0:00:06 left', '2.5/s']
    """
    told = [f"epoch {epoch[0]}/{epoch[1]}", f"bound {bound:.2f}"]
    if "validation/bound" in last:
        told.append(f"validation {last['validation/bound']:.2f}")
    told.append(f"{step[0]}/{step[1]} steps")
    if rate > 0:
        told += [f"{timedelta(seconds=round((step[1] - step[0]) / rate))} left"]
        told += [f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"]
    return told


def fitting(words: Sequence[str], width: int) -> str:
    """As many of some words as have room in a line, the first ones at least.

    Example:
        >>> fitting(["epoch 1/4", "bound -23.46", "5/20 steps"], 22)
        'epoch 1/4 bound -23.46'
    """
    while len(words) > 1 and len(" ".join(words)) > width:
        words = words[:-1]
    return " ".join(words)


def summary(row: Row) -> str:
    """The figures of an epoch in a few words.

    Example:
        >>> summary({"epoch": 1, "train/bound": -21.5, "validation/bound": -22.25, "seconds": 0.5})
        'train bound -21.500  validation bound -22.250  0.5 s'
    """
    shown = [f"{key.replace('/', ' ')} {row[key]:.3f}" for key in ("train/bound", "validation/bound") if key in row]
    if "validation/elbo" in row and row["validation/elbo"] != row.get("validation/bound"):
        shown.append(f"elbo {row['validation/elbo']:.3f}")
    return "  ".join([*shown, f"{row['seconds']:.1f} s"])


def reporter(progress: Progress, *, steps: int, epochs: int, done: int) -> Any:
    """Choose: nothing for False, a line in a notebook, a bar in a terminal (or for True), else lines."""
    if progress is False:
        return Quiet()
    if progress == "warnings":
        return Warnings()
    if (show := notebook()) is not None:
        return Cell(show, steps, epochs, done)
    if progress or (sys.stderr is not None and sys.stderr.isatty()):
        return Bar(steps, epochs, done)
    return Lines(epochs)
