"""Files that may come from elsewhere: regular ones alone, bounded in size and depth, of the form that is expected."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from ppl_vae.errors import PplVaeError, RunError
from ppl_vae.kinds import misfit, shown

DEPTH = 100
"""Containers within containers."""

_ODD = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISSOCK: "a socket",
}


def require_regular(path: Path, what: str, error: type[PplVaeError] = RunError) -> os.stat_result:
    """Refuse what is no regular file: reading a pipe or a device may never end, and opening one may do something.

    Args:
        path: of the file; links are followed.
        what: is expected there, such as `the record of a run`.
        error: the class of the refusal.

    Raises:
        PplVaeError: of that class; also where there is nothing.

    Example:
        >>> require_regular(Path("/dev/null"), "a csv file")
        Traceback (most recent call last):
        ppl_vae.errors.RunError: Got /dev/null, which is a device, expected a csv file: a regular file.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as reason:
        raise error(f"{path} cannot be read ({_said(reason)}); expected {what}") from None
    if stat.S_ISREG(found.st_mode):
        return found
    kind = next((word for is_kind, word in _ODD.items() if is_kind(found.st_mode)), "no file")
    raise error(f"Got {path}, which is {kind}, expected {what}: a regular file.")


def of_form(value: Any, path: Path, what: str, form: Any) -> Any:
    """The value, where it is of a form.

    Raises:
        RunError: naming the first entry that is of another kind.
    """
    found = misfit(value, form)
    if found is not None:
        where, got, expected = found
        if not where:
            raise RunError(f"Got {path} with {shown(got)}, expected {what}: {expected}.")
        raise RunError(f"Got {path} with {where}={shown(got)}, expected {what}: {where} is {expected}.")
    return value


def parse_json(text: str) -> Any:
    """A value of JSON that is not deep, and whose texts can be written again.

    Raises:
        ValueError: it is no JSON, deeper than `DEPTH`, or has half a character in a text.

    Example:
        >>> parse_json("[" * 200 + "]" * 200)
        Traceback (most recent call last):
        ValueError: containers in more than 100 others
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"containers in more than {DEPTH} others") from None
    level, depth = [value], 0
    while level:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict | list) and depth == DEPTH:
                raise ValueError(f"containers in more than {DEPTH} others")
            if isinstance(item, dict):
                inner += item.keys()
                inner += item.values()
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, str) and not item.isascii():
                item.encode()  # UnicodeEncodeError is a ValueError
        level, depth = inner, depth + 1
    return value


def _said(error: BaseException) -> str:
    """An error in one line."""
    strerror = getattr(error, "strerror", None)
    return strerror or " ".join(str(error).split())[:200] or type(error).__name__
