"""Work in forked processes: what each tells comes back as it is told, signals reach all, none outlives this process.

A fork shares what is imported, and starts at once. It is had on Linux alone: elsewhere a forked process may not use
the libraries that its parent has opened.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from multiprocessing.context import ForkProcess

Tell = Callable[[Any], None]

FORKS = sys.platform == "linux"
"""Whether work can be done in forked processes here."""

_DIES_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2)."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _KEPT = -1, -3, 2**28
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3), and bytes."""


def in_processes(works: Sequence[Callable[[Tell], None]], tell: Callable[[int, Any], None]) -> list[int]:
    """Do each work in a process of its own, all at a time.

    Args:
        works: each is given a function, whose argument (anything that pickles) comes to `tell` here.
        tell: is given the number of a work and what it told.

    Returns:
        The exit codes: 0 done, 130 and 143 ended by SIGINT and SIGTERM, 1 by an error that it has printed, `-n` killed
        by signal n.

    Raises:
        KeyboardInterrupt: SIGINT came, or SIGTERM in its form here; every process was sent it, and has ended.
    """
    context = multiprocessing.get_context("fork")
    processes: list[ForkProcess] = []
    open_ends: dict[Any, int] = {}
    try:
        for number, work in enumerate(works):
            receive, send = context.Pipe(duplex=False)
            processes.append(context.Process(target=_work, args=(work, send, os.getpid())))
            processes[-1].start()
            send.close()
            open_ends[receive] = number
        _hear(open_ends, tell)
    except BaseException as error:
        _stop(processes, error, open_ends, tell)
        raise
    for process in processes:
        process.join()
    return [int(process.exitcode or 0) for process in processes]


def _hear(open_ends: dict[Any, int], tell: Callable[[int, Any], None]) -> None:
    while open_ends:
        for end in wait(list(open_ends)):
            try:
                told = end.recv()  # type: ignore[union-attr,call-arg]
            except EOFError:
                del open_ends[end]
            else:
                tell(open_ends[end], told)


def _stop(
    processes: Sequence[ForkProcess],
    error: BaseException,
    open_ends: dict[Any, int],
    tell: Callable[[int, Any], None],
) -> None:
    """End all as this process is ended, and wait until they have; a second signal is passed on, too."""
    while True:
        number = signal.SIGINT if type(error) is KeyboardInterrupt else signal.SIGTERM
        for process in processes:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, number)
        try:
            _hear(open_ends, tell)
            for process in processes:
                process.join()
        except KeyboardInterrupt as again:
            error = again
        else:
            return


def _work(work: Callable[[Tell], None], send: Connection, parent: int) -> None:
    os.setpgid(0, 0)  # the signals of a terminal come once, from the parent
    libc = ctypes.CDLL(None)
    libc.prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    if hasattr(libc, "mallopt"):  # glibc gives back the memory of every step, and fetches it anew: a tenth of the time
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
        libc.mallopt(_MMAP_THRESHOLD, _KEPT)
    if os.getppid() != parent:
        os._exit(1)
    sys.stderr = _Lines(sys.stderr)
    try:
        work(send.send)
    except KeyboardInterrupt as error:
        sys.exit(130 if type(error) is KeyboardInterrupt else 143)


class _Lines:
    """Standard error of one process of several: whole lines, and no terminal to draw bars on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._line = stream, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        if lines:
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Nothing: a line is written once it is whole."""

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
