"""The ways in which results show themselves: one view of each, as text, and as HTML in a notebook.

What is shown are names, numbers and shapes; nothing is drawn, computed or read that is large. Names may be a
stranger's: text has no control characters that a terminal would obey, and HTML is escaped.
"""

from __future__ import annotations

import html
import math
import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, TextIO

HEAD, TAIL = 3, 4
NAMED = 14
"""Rows of a long table that are shown, the first and the last; of names and values more are."""

LONGEST, LAST = 40, 240
"""Letters of a cell that are shown, and of one at the end of its row."""

Row = Sequence[Any]


@dataclass(frozen=True, repr=False)
class View:
    """The parts of a result that it shows of itself.

    Attributes:
        title: one line; all that is shown where there is no more.
        columns: the heads of a table; none where its rows are a name and a value.
        rows: of the table; numbers as they are, see `number`.
        notes: sentences below it.
        pictures: SVG, in notebooks alone.
        folded: texts that a notebook shows when asked, by their titles.
    """

    title: str
    columns: Sequence[str] = ()
    rows: Sequence[Row] = ()
    notes: Sequence[str] = ()
    pictures: Sequence[str] = ()
    folded: Mapping[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The title alone, for what is shown in one line wherever it stands."""
        return printable(" ".join(self.title.split()))

    @property
    def few_rows(self) -> list[Row]:
        """The rows that are shown."""
        return abridged(self.rows, HEAD if self.columns else NAMED)

    def text(self, *, whole: bool = False) -> str:
        """The view as lines, columns of words on the left and of numbers on the right of their place.

        Args:
            whole: with all rows.
        """
        told = [*([self.columns] if self.columns else []), *(self.rows if whole else self.few_rows)]
        lines = [_cells(row) for row in told]
        right = _numeric(self.rows) if self.columns else set()
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))] if lines else []
        table = [
            "  ".join(cell.rjust(width) if i in right else cell.ljust(width) for i, (cell, width) in places)
            for places in (enumerate(zip(line, widths, strict=True)) for line in lines)
        ]
        parts = [self.line] if self.title else []
        return "\n".join(printable(line).rstrip() for line in (*parts, *table, *self.notes))

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return self.html()

    def html(self) -> str:
        """The view as a piece of HTML, with no colours of its own: readable on light and on dark."""
        parts = [f"<div><b>{_escaped(self.title)}</b></div>"] if self.title else []
        if self.pictures:
            style = "display:flex;flex-wrap:wrap;gap:1em;max-width:100%;overflow-x:auto"
            parts.append(f'<div style="{style}">{"".join(self.pictures)}</div>')
        if self.rows:
            right = _numeric(self.rows)
            body = "".join(_html_row("td", row, right) for row in self.few_rows)
            head = f"<thead>{_html_row('th', self.columns, right)}</thead>" if self.columns else ""
            parts.append(f'<table style="border-collapse:collapse;margin:.4em 0">{head}<tbody>{body}</tbody></table>')
        parts += [f'<div style="white-space:pre-wrap">{_escaped(note)}</div>' for note in self.notes]
        for title, text in self.folded.items():
            parts.append(
                f'<details><summary style="cursor:pointer">{_escaped(title)}</summary>'
                f'<pre style="background:none;color:inherit">{_escaped(text)}</pre></details>'
            )
        return f'<div class="ppl-vae">{"".join(parts)}</div>'


class Displayed:
    """A result that shows itself by its `_view`; a dataclass says `repr=False`, or it prints all that it holds."""

    def _view(self) -> View:
        raise NotImplementedError

    def __repr__(self) -> str:
        return self._view().text()

    def _repr_html_(self) -> str:
        return self._view().html()


def number(value: Any) -> str:
    """A value in a cell: three decimals, or four digits of what is very small or large; nothing is a dash.

    Example:
        >>> number(-23.45678), number(3), number(0.00012), number(None), number(1e-3)
        ('-23.457', '3', '0.00012', '-', '0.001')
    """
    if value is None or (isinstance(value, Real) and value != value):
        return "-"
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    if isinstance(value, Integral):
        return str(int(value))
    value = float(value)
    plain = value.is_integer() or not 1e-2 <= abs(value) < 1e5
    return f"{value:.4g}" if plain else f"{value:.3f}"


def measured(value: float, error: float | None = None) -> str:
    """A number and its standard error, with the digits that the error leaves it: two of those that it makes unsure.

    Example:
        >>> measured(26.836170884499275, 0.020845649599840813), measured(-1234.5678, 31.4), measured(1.5)
        ('26.836 ± 0.021', '-1235 ± 31', '1.500')
        >>> measured(0.5, 0.0)
        '0.500 ± 0'
    """
    if error is None or value != value or not math.isfinite(value):
        return number(value)
    if not 0 < error < math.inf:
        return f"{number(value)} ± {number(error)}"
    decimals = 1 - math.floor(math.log10(float(f"{error:.1e}")))  # as rounded: 0.0996 is 0.10
    if not 0 <= decimals <= 6:
        return f"{value:.6g} ± {error:.2g}"
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def figures(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Named figures, each with its standard errors, `NAME_se` (over particles) and `NAME_se_data` (over data).

    What is NaN or None is left out: there is none.

    Example:
        >>> figures({"test/nll": 26.836, "test/nll_se": 0.0208, "test/nll_se_data": 0.8154, "ess": float("nan")})
        [('test/nll', '26.836 ± 0.021 (particles) ± 0.82 (data)')]
    """
    told = []
    for name, value in found.items():
        error, spread = (found.get(f"{name}_{end}") for end in ("se", "se_data"))
        if name.endswith(("_se", "_se_data")) or value is None or value != value or isinstance(value, Mapping):
            continue
        known, wide = error is not None and error == error, spread is not None and spread == spread
        data = f" ± {spread:.2g} (data)" if wide else ""
        plain = f"{measured(float(value), error)} (particles)" if known else number(value)
        told.append((name, plain + data))
    return told


def shape_of(tensor: Any) -> str:
    """Dtype and shape of an array.

    Example:
        >>> import torch
        >>> shape_of(torch.zeros(5, 2))
        'float32 (5, 2)'
    """
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def abridged(rows: Sequence[Row], head: int = HEAD) -> list[Row]:
    """Rows, of a long table the first and the last ones, with a row of dots between them."""
    if len(rows) <= head + TAIL + 1:
        return list(rows)
    return [*rows[:head], ["…"] * len(rows[0]), *rows[-TAIL:]]


def few(names: Iterable[Any], most: int = 8) -> str:
    """Some names in a line, with the number of those that have no room.

    Example:
        >>> few("abcd", most=2)
        'a, b … (4)'
    """
    told = [str(name) for name in names]
    return ", ".join(told) if len(told) <= most else f"{', '.join(told[:most])} … ({len(told)})"


_NUMBER = re.compile(r"-|[-−+]?[\d.,]*\d(e[-+]?\d+)?%?( ± \S+)?")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""A text whose control characters, which a terminal would obey, are seen: names in it may be a stranger's.

    Example:
        >>> printable("no \x1b[2Jsuch\n  name")
        'no \\x1b[2Jsuch\n  name'
    """
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


_COMMAND = re.compile(r"ppl-vae [a-z]+( -m)?( [^\s=]+=\S+)*")


def wrapped(text: str, width: int) -> str:
    r"""Lines broken between words, so that a terminal breaks none inside a number or a path that has room in a line.

    What is a command to copy stays in one line, whatever its length; values stay under values.

    Example:
        >>> print(wrapped("ELBO  -26.9217 ± 0.0221 nats\nnext: ppl-vae evaluate run=/a/long/path", 20))
        ELBO  -26.9217 ±
              0.0221 nats
        next:
          ppl-vae evaluate run=/a/long/path
    """
    return "\n".join(line if len(line) <= width else _broken(line, width) for line in text.split("\n"))


def _broken(line: str, width: int) -> str:
    begin = re.match(r"\s*(\S+( \S+)*\s{2,})?", line)
    under = len(begin[0]) if begin is not None and len(begin[0]) <= width // 2 else 0
    under = under or len(line) - len(line.lstrip()) + 2
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", "\0"), line)
    lines = textwrap.wrap(whole, width, subsequent_indent=" " * under, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def on_screen(text: str, stream: TextIO) -> str:
    """A text for a stream: `printable`, and `wrapped` where it is a terminal."""
    text = printable(text)
    return wrapped(text, shutil.get_terminal_size().columns) if stream.isatty() else text


def _cells(row: Row) -> list[str]:
    told = [" ".join(number(cell).split()) for cell in row]
    most = [*[LONGEST] * (len(told) - 1), LAST]
    return [cell if len(cell) <= n else f"{cell[: n - 1]}…" for cell, n in zip(told, most, strict=True)]


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _numeric(rows: Sequence[Row]) -> set[int]:
    """The columns that hold numbers, or nothing."""
    width = len(rows[0]) if rows else 0
    return {i for i in range(width) if all(_is_number(row[i]) for row in rows)}


def _is_number(cell: Any) -> bool:
    if isinstance(cell, str):
        return _NUMBER.fullmatch(cell) is not None
    return cell is None or (isinstance(cell, Real) and not isinstance(cell, bool))


def _html_row(tag: str, row: Row, right: set[int]) -> str:
    style = "padding:.15em .7em;border-bottom:1px solid rgba(128,128,128,.35);background:none;color:inherit"
    cells = (
        f'<{tag} style="{style};text-align:{"right" if i in right else "left"}">{_escaped(cell)}</{tag}>'
        for i, cell in enumerate(_cells(row))
    )
    return f"<tr>{''.join(cells)}</tr>"
