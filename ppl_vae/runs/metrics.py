"""`metrics.jsonl`: a line an epoch, each of which is seen to be what was written."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppl_vae import files
from ppl_vae.errors import DamagedError
from ppl_vae.files import seal
from ppl_vae.kinds import Measured
from ppl_vae.runs.recorder import METRICS, RECORD, SUMS, read_record

Row = dict[str, Measured]

CHECK = "check"
"""The last key of a line: the first 16 digits of the SHA-256 of all else in it but what tells time. Equal epochs have
equal ones; times are held by `run.json` once training has ended."""

_WHOLE = re.compile(rb'"check": "[0-9a-f]{16}"\}')
"""What a line has that is not torn, whatever may stand after it."""


def to_line(row: Mapping[str, float], *, check: bool = True) -> str:
    """One row as a line of strict JSON: what is not finite becomes null.

    Args:
        row: of an epoch.
        check: whether its check stands at the end.

    Example:
        >>> json.loads(to_line({"epoch": 1, "lr": float("nan"), "seconds": 0.25}))
        {'epoch': 1, 'lr': None, 'seconds': 0.25, 'check': 'ceba4fa5a2875e3a'}
    """
    plain = {k: v if math.isfinite(v) else None for k, v in row.items()}
    return json.dumps({**plain, CHECK: _check(plain)} if check else plain, allow_nan=False) + "\n"


def _check(row: Mapping[str, Any]) -> str:
    timeless = {k: v for k, v in row.items() if not k.endswith("seconds")}
    return hashlib.sha256(json.dumps(timeless, allow_nan=False).encode()).hexdigest()[:16]


def rows_of(directory: Path) -> list[Row]:
    """The rows of `metrics.jsonl`, null as NaN; none without it. A torn last line is ignored.

    Raises:
        DamagedError: naming the first line that is not what was written.
    """
    path = directory / METRICS
    while True:
        sums = _sums(directory)
        try:
            content = files.read(path)
        except FileNotFoundError:
            content = b""
        if not sums or sums == {"size": len(content), "sha256": seal.digest(content)}:
            return parsed(content, path)
        if _sums(directory) == sums:  # else training has gone on since
            parsed(content, path)  # tells the line
            raise seal.changed(path)


def _sums(directory: Path) -> Any:
    """Size and SHA-256 of the file when training ended, as `run.json` has them; None where it has none yet."""
    if not files.is_there(directory / RECORD):
        return None
    sums = read_record(directory).get(SUMS)
    return sums.get(METRICS) if isinstance(sums, dict) else None


def parsed(content: bytes, source: Path | str) -> list[Row]:
    r"""The rows in lines of JSON, null as NaN. What follows the last line break is ignored where it is no whole line.

    Args:
        content: of the file.
        source: its path, for messages.

    Raises:
        DamagedError: naming the first line that is not what was written.

    Example:
        >>> parsed(b'{"epoch": 1, "lr": null}\n{"epoch": 2, "l', "metrics.jsonl")
        [{'epoch': 1, 'lr': nan}]
    """
    *lines, last = content.rstrip(b"\0").split(b"\n")  # zeros: a file grew, and a power cut came before its content
    if _WHOLE.search(last) or _row(last) is not None:  # else it is torn
        lines.append(last)
    found = []
    for number, line in enumerate(lines, 1):
        row = _row(line)
        if row is not None:
            told = row.pop(CHECK, None)
            known = told is None or told == _check(row)
        if row is None or not known or not all(map(_is_number, row.values())):
            raise DamagedError(
                f"Got line {number} of {source} that is not what was written ({line[:60]!r}…); expected the figures of "
                "an epoch. The file is damaged: restore it from a copy, or train again."
            )
        found.append({k: math.nan if v is None else v for k, v in row.items()})
    return found


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value is None
    return abs(value) < 2**1000 if isinstance(value, int) else math.isfinite(value)
