"""Ctrl-C and SIGTERM, postponed to the end of a training step."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from types import FrameType
from typing import Any

GRACE = 15.0
"""Seconds in which a process of several takes a further signal for the same one: what started them passes it on."""


class Interrupted(BaseException):
    """A signal came, and the state of training has been put in order."""


class PostponedSignals:
    """Within, a first SIGINT or SIGTERM only sets `pending`; a second one acts at once.

    Afterwards the old handlers are back, and `deliver` does what the signal would have done: a step is never
    torn in two, and the state of an interrupted run is exact. Only a program's main thread can do this;
    elsewhere, and where a signal is ignored, nothing changes.

    Attributes:
        pending: the number of the signal that has come.
        alone: False where several processes train one run, which stop together or not at all.
    """

    def __init__(self) -> None:
        self.pending: int | None = None
        self.alone = True
        self._agreed: int | None = None
        self._since = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> PostponedSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                previous = signal.getsignal(number)
                if previous not in (signal.SIG_IGN, None):  # None: a handler that Python did not install
                    self._previous[number] = previous
                    signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    @property
    def stop(self) -> int | None:
        """The signal by which to stop now: one that has come, and that all processes of the run know of."""
        return self.pending if self.alone else self._agreed

    def agree(self, number: int) -> None:
        """Take note that all processes know of a signal that one of them was sent."""
        self._agreed = number
        if self.pending is None:
            self.pending, self._since = number, time.monotonic()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        first, self.pending = self.pending is None, number
        if first:
            self._since = time.monotonic()
        elif self.alone or time.monotonic() - self._since > GRACE:
            self.__exit__()
            self._act(number, frame)

    def deliver(self) -> None:
        """Do now what the postponed signal asked for; raises as its handler raises."""
        if self.pending is not None:
            self._act(self.pending, None)
        # a handler that returns, e.g. one that sets a flag: training has stopped all the same
        raise KeyboardInterrupt

    def _act(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous.get(number)  # none where another process was sent what is ignored here
        if previous is None:
            return
        if callable(previous):
            previous(number, frame)
        else:
            with contextlib.suppress(ValueError):
                signal.raise_signal(number)
