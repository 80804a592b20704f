"""What a verb says at its end: tables for people, one JSON object for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO


@dataclass
class Result:
    """The end of a verb: the JSON record, what a person reads, and the value a sweeper minimizes."""

    record: dict[str, Any] = field(default_factory=dict)
    tables: list[Any] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    value: float | None = None


def emit(result: Result, style: str, out: TextIO, *, number: int | None = None) -> None:
    """Print a result: `table` for a terminal, `json` as one object on one line (with its job's number in a sweep)."""
    if style == "json":
        record = result.record if number is None else {"job": number, **result.record}
        print(to_json(record), file=out, flush=True)
        return
    from rich.console import Console

    console = Console(file=out, width=None if out.isatty() else 120, highlight=False)
    for table in result.tables:
        console.print(table)
    for line in result.lines:  # not through rich: paths are to be copied, never wrapped
        print(line, file=out)
    out.flush()


def to_json(record: Any) -> str:
    """One line of strict JSON: NaN and infinities are `null`, arrays are lists, paths are strings."""
    return json.dumps(plain(record), allow_nan=False)


def plain(value: Any) -> Any:
    """The value in JSON's own types."""
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy and torch, scalars too
        return plain(value.tolist())
    return str(value)


def figures_table(title: str, rows: Mapping[str, Any]) -> Any:
    """A two-column table of named figures."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) and abs(value) < 10 else _text(value))
    return table


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.2f}"
    return str(value)
