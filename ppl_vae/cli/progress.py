"""Words on standard error while a verb works: bars, lines, and parts that could not be made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ppl_vae.display import printable


def say(text: str) -> None:
    """One line about what is done now; names in it may be a stranger's."""
    print(printable(text), file=sys.stderr, flush=True)


@contextmanager
def attempt(verb: str, what: str) -> Iterator[None]:
    """Make one part of a result: where that fails, it is told, and the other parts stand."""
    try:
        yield
    except Exception as error:
        from ppl_vae.cli.messages import message

        say(f"ppl-vae {verb}: no {what}: {message(error)}")


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A callable for a diagnostic's `progress`, given the number done and of all; None without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
