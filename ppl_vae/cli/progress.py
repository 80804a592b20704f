"""Words on standard error while a verb works: bars, lines, and parts that could not be made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ppl_vae.display import on_screen

_quiet = [False]
"""Whether this process says only what went wrong, the innermost last; those that it forks inherit it."""


@contextmanager
def quietly(quiet: bool) -> Iterator[None]:
    """Within, `say` and `bar` show nothing where `quiet=true` was told; what went wrong is said all the same."""
    _quiet.append(quiet or _quiet[-1])
    try:
        yield
    finally:
        _quiet.pop()


def is_quiet() -> bool:
    """True where nothing is to be said but what went wrong."""
    return _quiet[-1]


def say(text: str) -> None:
    """One line about what is done now; names in it may be a stranger's."""
    if not is_quiet():
        warn(text)


def warn(text: str) -> None:
    """One line about what went wrong, or may have."""
    print(on_screen(text, sys.stderr), file=sys.stderr, flush=True)


@contextmanager
def attempt(verb: str, what: str) -> Iterator[None]:
    """Make one part of a result: where that fails, it is told, and the other parts stand."""
    try:
        yield
    except Exception as error:
        from ppl_vae.cli.messages import message

        warn(f"ppl-vae {verb}: no {what}: {message(error)}")


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A callable for a diagnostic's `progress`, given the number done and of all; None without a terminal."""
    if is_quiet() or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
