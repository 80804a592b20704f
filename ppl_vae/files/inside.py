"""Where files of a run lie: inside it, and not behind a link that leads out of it; what is opened is a plain file."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from ppl_vae.errors import DamagedError, RunError

RUN, SWEEP = "run.json", "sweep.json"
"""What makes a folder that of a run, or of a sweep."""

DEEP = 5
"""How many folders above a file its run or sweep may lie."""

_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def root_of(path: Path, *names: str) -> Path | None:
    """The nearest folder above a path that holds a file of one of these names."""
    for parent in list(path.absolute().parents)[:DEEP]:
        if any(os.path.lexists(parent / name) for name in names):
            return parent
    return None


def no_way_out(path: Path) -> None:
    """Refuse a path in a run or a sweep on whose way lies a link: what is written there would be written elsewhere.

    The folder of a whole run may be reached by links, as the user likes; only what lies inside is looked at. A link in
    place of the file itself is no way out: it is replaced, not followed, and not read.

    Raises:
        DamagedError: naming the link.
    """
    path = path.absolute()
    root = root_of(path, RUN, SWEEP)
    if root is None:
        return
    inner = path.parent
    while inner != root:
        if inner.is_symlink():
            raise DamagedError(
                f"Got {inner}, a link to {inner.readlink()}, inside {root}; expected a folder: what a run holds is "
                "neither written nor read through links. Put the folder itself in its place, or delete the link."
            )
        inner = inner.parent


def folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder, and those above it, where it is not there yet.

    Raises:
        RunError: it cannot be made, or lies behind a link, see `no_way_out`.
    """
    path = Path(path)
    no_way_out(path / "file")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"Got {error.strerror or error} when making {path}, expected a folder that can be written to, with room "
            "left on its disk."
        ) from error
    return path


def is_there(path: Path) -> bool:
    """True where something bears this name, be it a link that leads nowhere."""
    return os.path.lexists(path)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A plain file, open for reading; a link is not followed, and nothing waits for a pipe.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is no plain file, or cannot be read.
    """
    no_way_out(path)
    try:
        with os.fdopen(os.open(path, _READ), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DamagedError(f"Got {path}, which is no plain file; expected one. Restore it from a copy.")
            yield file
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(_told(path, error)) from error


def content(path: Path, most: int | None = None) -> bytes:
    """All bytes of a plain file.

    Args:
        path: of the file.
        most: the bytes from which it is refused.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is no plain file, cannot be read, or is too large to be what it is to be.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise DamagedError(f"Got {path} of {size} bytes, expected at most {most}. Restore it from a copy.")
        return file.read()


def _told(path: Path, error: OSError) -> str:
    if path.is_symlink():
        where = ""
        with contextlib.suppress(OSError):
            where = f" to {path.readlink()}"
        return (
            f"Got {path}, a link{where}; expected the file itself: what a run holds is not read through links. Put a "
            "copy of the file in its place."
        )
    return f"Got {path}, which cannot be read ({error.strerror or error}); expected a plain file that can be."
