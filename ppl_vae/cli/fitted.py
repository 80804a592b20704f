"""A table that fits the terminal: numbers stay whole, what has no room is left out by name, or the table is turned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppl_vae import display

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

LONGEST = 24
"""Letters of a text, such as a path, that a cell shows at most."""

MOST = 40
"""Rows shown at most."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: broken at `/`, `_` and before `.`.
        cells: as they are shown, see `number`.
        rank: what is left out first has the highest; 0 is never left out.
    """

    title: str
    cells: Sequence[str]
    rank: int = 0

    @property
    def head(self) -> str:
        """The title on several lines."""
        return re.sub(r"[/_]|(?<=[.:])|(?<=±) ", "\n", self.title)

    @property
    def width(self) -> int:
        """Letters that it takes."""
        return max(len(line) for text in (self.head, *self.cells) for line in text.split("\n"))


@dataclass(frozen=True)
class Fitted:
    """Columns with as many rows as fit on the screen in width.

    Attributes:
        columns: from left to right.
        rest: where all of it can be read.
    """

    columns: Sequence[Column]
    rest: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The table, or its rows as blocks of lines where not even its first columns have room."""
        from rich import box  # draws a random number when imported
        from rich.table import Table
        from rich.text import Text

        shown = list(self.columns)
        while _width(shown) > options.max_width and (last := max(c.rank for c in shown)) > 0:
            worst = [c for c in shown if c.rank == last][-1]
            shown = [c for c in shown if c is not worst]
        count = len(self.columns[0].cells) if self.columns else 0
        if _width(shown) > options.max_width:
            yield from self._turned(min(count, MOST))
        else:
            table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
            for column in shown:
                table.add_column(Text(column.head), no_wrap=True, justify="left" if _words(column) else "right")
            for row in range(min(count, MOST)):
                table.add_row(*(Text(column.cells[row]) for column in shown))
            yield table
            left = [c.title for c in self.columns if c not in shown]
            if left:
                yield Text(f"no room for: {', '.join(left)}{self._where()}".replace("\n", " "))
        if count > MOST:
            yield Text(f"… and {count - MOST} more{self._where()}")

    def _turned(self, rows: int) -> Iterator[RenderableType]:
        from rich.text import Text

        for row in range(rows):
            for column in self.columns:
                yield Text(f"{column.title}: {column.cells[row]}", overflow="fold")
            yield Text("")

    def _where(self) -> str:
        return f" (in {self.rest})" if self.rest else ""


def _width(columns: Sequence[Column]) -> int:
    return sum(c.width + 2 for c in columns)  # two spaces between them, one at each edge


def _words(column: Column) -> bool:
    return any(cell[:1].isalpha() for cell in column.cells)


def number(value: Any) -> str:
    """A value for a cell, see `display.number`; of a long text its beginning and its end.

    Example:
        >>> number(-23.45678), number(3), number(None), number("/a/path/that/is/longer/than/a/cell")
        ('-23.457', '3', '-', '/a/path/tha…/than/a/cell')
    """
    text = display.number(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2 - 1]}…{text[-LONGEST // 2 :]}"
