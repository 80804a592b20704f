"""Files that are there in full or not at all, and values in JSON's own types."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from ppl_vae.errors import UsageError
from ppl_vae.files.replace import put, replacing, sync, unwritten, write


def write_atomically(path: str | os.PathLike[str], content: bytes | str, *, listed: bool = True) -> None:
    """Replace the file at `path` by `content`, see `replacing`.

    Raises:
        RunError: where the file cannot be written; what was there before is untouched.
    """
    with replacing(path, listed=listed) as temporary:
        write(temporary, content.encode() if isinstance(content, str) else content)


def append(path: str | os.PathLike[str], text: str) -> None:
    """Add text to a file that grows; it is on the disk after `sync`.

    Raises:
        RunError: where the file cannot be written; a part of the text may stand there.
    """
    try:
        put(Path(path), text.encode(), os.O_APPEND)
    except OSError as error:
        raise unwritten(Path(path), error) from error


def settle(path: str | os.PathLike[str]) -> None:
    """Wait until all that was appended to a file is on the disk.

    Raises:
        RunError: where it cannot be written.
    """
    try:
        sync(Path(path))
    except OSError as error:
        raise unwritten(Path(path), error) from error


def jsonable(value: Any) -> Any:
    """The value in JSON's own types: NaN and infinities are null, arrays are lists, paths are strings.

    Example:
        >>> jsonable({"nll": float("nan"), "shape": (1, 8)})
        {'nll': None, 'shape': [1, 8]}
    """
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [jsonable(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy and torch, scalars too
        return jsonable(value.tolist())
    return str(value)


def to_json(record: Any) -> str:
    """One line of strict JSON."""
    return json.dumps(jsonable(record), allow_nan=False)


def whole_path(name: str | Path, key: str) -> Path:
    """The absolute path of what was typed for a key, `~` and all.

    Raises:
        UsageError: for the home of a user who is not there.
    """
    try:
        path = Path(name).expanduser().absolute()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.lstat(path)
        return path
    except (OSError, ValueError) as error:  # longer than any name, a null character, half a character
        said = getattr(error, "strerror", None) or error
        raise UsageError(f"{key}={str(name)[:60]!r}: no name of a folder ({said})") from None
    except RuntimeError:
        raise UsageError(f"{key}={name}: there is no home of {Path(name).parts[0]}; give the whole path") from None
