"""Results of a verb: tables for people, one JSON object for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from ppl_vae.display import on_screen, printable
from ppl_vae.runs.files import to_json

QUIET = "quiet"
"""The form of results under `quiet=true`, where `format=json` does not say another."""


@dataclass
class Result:
    """The end of a verb.

    Attributes:
        record: the JSON object.
        tables: what a person reads first …
        lines: … and then.
        value: what a sweeper minimizes.
        made: the paths of what was made, or found, the most important ones alone: all that is printed when quiet.
    """

    record: dict[str, Any] = field(default_factory=dict)
    tables: list[Any] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    value: float | None = None
    made: Sequence[str | Path] = ()


def emit(result: Result, style: str, out: TextIO, *, number: int | None = None) -> None:
    """Print a result: `table` for people, `json` as one object on one line (in a sweep with its job's number).

    `quiet`: the paths of what was made, a line each.

    An empty one, of a process that leaves the words to another, prints nothing.
    """
    if result == Result():
        return
    if style == "json":
        record = result.record if number is None else {"job": number, **result.record}
        print(to_json(record), file=out, flush=True)
        return
    if style == QUIET:
        for path in result.made:
            print(printable(str(path)), file=out)
        out.flush()
        return
    console = console_on(out)
    for table in result.tables:
        print(on_screen(table, out), file=out) if isinstance(table, str) else console.print(table)
    for line in result.lines:  # not through rich, which breaks paths that are to be copied
        print(on_screen(line, out), file=out)
    out.flush()


def console_on(out: TextIO) -> Any:
    """A console for tables, in whose texts brackets are brackets, and control characters are seen."""
    from rich.console import Console

    class Plain(Console):
        def render_str(self, text: str, **how: Any) -> Any:
            return super().render_str(printable(text), **{**how, "markup": False, "emoji": False})

        def render(self, renderable: Any, options: Any = None) -> Iterator[Any]:
            for part in super().render(renderable, options):
                yield part if part.control else part._replace(text=printable(part.text))

    return Plain(file=out, width=None if out.isatty() else 10_000, highlight=False)
