"""Checksums inside files, by which each is seen to be what was written: no second file can disagree with it.

A sealed file holds the SHA-256 of all its bytes, in which the 64 digits of the checksum itself are taken as zeros.
Files without one, of earlier versions, are taken as they are; what looks as if one had been there is damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppl_vae.errors import DamagedError
from ppl_vae.reading import parse_json

KEY = "checksum"
"""The last key of a sealed JSON object."""

LENGTH = 64
BLANK = "0" * LENGTH
"""What stands in place of the digits when they are computed."""

_JSON = re.compile(rb'"checksum": "([0-9a-f]{64})"\s*\}\s*\Z')
_COMMENT = "# SHA-256 of this file, with zeros in place of these digits: "
_TEXT = re.compile(re.escape(_COMMENT.encode()) + rb"([0-9a-f]{64})\n")
_HALVES = b"SHA-256 of this file", b"in place of these digits"
"""Of a comment that was damaged in one place, one is left."""


def digest(*parts: bytes | memoryview) -> str:
    """The SHA-256 of bytes, in 64 digits."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()


def agrees(content: bytes, at: int) -> bool:
    """True where the 64 digits at this place are the checksum of all bytes."""
    view = memoryview(content)
    zeroed = digest(view[:at], BLANK.encode(), view[at + LENGTH :])
    return zeroed.encode() == content[at : at + LENGTH]


def sealed_json(record: Mapping[str, Any], indent: int | None = None) -> str:
    """A JSON object with its checksum as the last entry.

    Example:
        >>> text = sealed_json({"status": "finished"})
        >>> unsealed_json(text.encode(), "run.json"), text[:36]
        ({'status': 'finished'}, '{"status": "finished", "checksum": "')
    """
    whole = {k: v for k, v in record.items() if k != KEY} | {KEY: BLANK}
    return _filled(json.dumps(whole, indent=indent, allow_nan=False) + "\n")


def unsealed_json(content: bytes, path: Path | str) -> Any:
    """The value in a JSON file, without the checksum, which has to be right where there is one.

    Raises:
        DamagedError: it is not what was written, or no JSON.
    """
    found = _JSON.search(content)
    if found is not None and not agrees(content, found.start(1)):
        raise changed(path, f'remove its entry "{KEY}"')
    try:
        value = parse_json(content.decode("utf-8"))
    except ValueError as error:
        raise DamagedError(
            f"Got {path} that cannot be read as JSON ({error}), expected what ppl_vae wrote. It is damaged: restore it "
            "from a copy."
        ) from None
    if isinstance(value, dict):
        last = next(reversed(value.items()), ("", None))
        if found is None and (last[0] == KEY or _like_digits(last[1])):  # elsewhere, it was written by somebody else
            raise changed(path, f'remove its entry "{KEY}"')
        value.pop(KEY, None)
    return value


def _like_digits(value: Any) -> bool:
    """True for the checksum under another name, or with other letters in it."""
    return isinstance(value, str) and len(value) == LENGTH and sum(c in "0123456789abcdef" for c in value) > LENGTH - 9


def sealed_text(text: str) -> str:
    """A text in which # begins a comment, such as YAML, with its checksum in a first line.

    Example:
        >>> unsealed_text(sealed_text("seed: 0").encode(), "config.yaml").splitlines()
        ['seed: 0']
    """
    return _filled(f"{_COMMENT}{BLANK}\n{text}")


def unsealed_text(content: bytes, path: Path | str) -> str:
    """The text, without its checksum, which has to be right where there is one.

    Raises:
        DamagedError: it is not what was written, or no text.
    """
    found = _TEXT.match(content)
    first = content[: len(_COMMENT) + LENGTH + 8]
    if not agrees(content, found.start(1)) if found is not None else any(half in first for half in _HALVES):
        raise changed(path, "remove its first line")
    try:
        return (content if found is None else content[found.end() :]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedError(f"Got {path} that is no text ({error}); it is damaged: restore it from a copy.") from None


def checksum_of(content: bytes) -> str:
    """The checksum that a sealed text bears, by which it is told from any other; empty where it bears none."""
    found = _TEXT.match(content)
    return "" if found is None else found[1].decode()


def changed(path: str | os.PathLike[str], by_hand: str = "", *, kept_in: str = "") -> DamagedError:
    """The error that a file is not what was written.

    Args:
        path: of the file.
        by_hand: what to do where it was changed on purpose.
        kept_in: the file that holds the checksum, where it is another.
    """
    fix = f" (where it was changed on purpose, {by_hand})" if by_hand else ""
    with_other = f" with that in {kept_in}" if kept_in else ""
    return DamagedError(
        f"Got {path} that is not what was written: its checksum does not agree{with_other}. It is damaged: restore it "
        f"from a copy{fix}."
    )


def _filled(text: str) -> str:
    before, _, after = text.partition(BLANK) if text.startswith(_COMMENT) else text.rpartition(BLANK)
    return f"{before}{digest(text.encode())}{after}"
