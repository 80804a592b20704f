"""Files that may come from elsewhere: regular ones alone, bounded in size and depth, of the form that is expected."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

from ppl_vae.errors import PplVaeError, RunError
from ppl_vae.kinds import misfit, shown

TEXT = 2**28
"""Bytes of the longest text that is read."""

DEPTH = 100
"""Containers within containers, of JSON and YAML."""

NODES = 10**6
"""Values, keys and containers of YAML."""

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


def read_bytes(path: Path, what: str, most: int = TEXT) -> bytes:
    """Read a regular file as it is now, of a bounded size.

    Raises:
        RunError: what it is not, or why it cannot be read.
    """
    require_regular(path, what)
    try:
        # between the look and the opening another file may have come: this opens no pipe that waits for its other end
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as stream:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise RunError(f"Got {path}, which is no file any more, expected {what}.")
            if found.st_size > most:
                raise RunError(f"Got {path} of {found.st_size} bytes, expected {what}: at most {most} bytes.")
            return stream.read(found.st_size)
    except OSError as error:
        raise RunError(f"{path} cannot be read ({_said(error)}); expected {what}") from None


def read_text(path: Path, what: str, most: int = TEXT) -> str:
    """Read a regular file of UTF-8.

    Raises:
        RunError: what it is not, or why it cannot be read.
    """
    try:
        return read_bytes(path, what, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RunError(f"{path} cannot be read ({_said(error)}); expected {what}, in UTF-8") from None


def read_json(path: Path, what: str, form: Any = Any) -> Any:
    """Read a file of JSON, and hold it to a form.

    Args:
        path: of the file.
        what: is expected there, such as `the record of a run that train wrote`.
        form: the annotation that the value has to fit, such as a `TypedDict`, see `kinds.misfit`.

    Raises:
        RunError: what it is not, or why it cannot be read; the first entry that is of another kind, by name.
    """
    text = read_text(path, what)
    try:
        value = parse_json(text)
    except ValueError as error:
        raise RunError(f"{path} cannot be read ({_said(error)}); expected {what}") from None
    return of_form(value, path, what, form)


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


def parse_row(line: str) -> dict[str, float]:
    """One line of figures by their names: an object of numbers, null is NaN.

    Raises:
        ValueError: it is anything else.

    Example:
        >>> parse_row('{"epoch": 1, "lr": null}')
        {'epoch': 1, 'lr': nan}
        >>> parse_row("[1]")
        Traceback (most recent call last):
        ValueError: got [1], expected an object of numbers
    """
    row = parse_json(line)
    if not isinstance(row, dict):
        raise ValueError(f"got {shown(row)}, expected an object of numbers")
    for key, value in row.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"got {key}={shown(value)}, expected a number or null")
        if isinstance(value, int) and abs(value) > 2**1000:
            raise ValueError(f"got {key} of {len(str(value))} digits, expected a number")
    return {k: math.nan if v is None else v for k, v in row.items()}


def read_yaml(path: Path, what: str) -> str:
    """The text of a file of YAML that is bounded in depth and size, and stays so when it is loaded: it has no aliases.

    A line of nine aliases, each of a line of nine, and so on, is a file of a few hundred bytes that fills any memory.

    Raises:
        RunError: what it is not, or why it cannot be read.
    """
    import yaml  # type: ignore[import-untyped]

    text = read_text(path, what, most=2**24)
    depth = count = 0
    try:
        for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            count += 1
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            why = (
                f"the alias *{event.anchor}" if isinstance(event, yaml.AliasEvent)
                else f"containers in more than {DEPTH} others" if depth > DEPTH
                else f"more than {NODES} values" if count > NODES
                else ""
            )  # fmt: skip
            if why:
                raise RunError(f"Got {path} with {why}, expected {what}: plain values.")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read ({_said(error)}); expected {what}") from None
    return text


def _said(error: BaseException) -> str:
    """An error in one line."""
    strerror = getattr(error, "strerror", None)
    return strerror or " ".join(str(error).split())[:200] or type(error).__name__
