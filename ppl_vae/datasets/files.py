"""Files that are there, whole, and fit into memory, or a message that helps."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ppl_vae.errors import DataError, near_names
from ppl_vae.reading import require_regular

MAX_EXPANSION = 1032
"""No deflate stream expands by more: an archive that declares it is not what it says."""


def existing_file(path: str | Path, what: str) -> Path:
    """Give the absolute path of a file, and refuse one that is missing, a directory, empty or not readable.

    Args:
        path: what the user said; ``~`` is the home directory.
        what: the kind of file expected, such as ``an npz archive``.
    """
    file = existing(path, what)
    if file.is_dir():
        held = sorted(entry.name for entry in file.iterdir())[:6]
        raise DataError(f"Got the directory {file}, expected {what}: name the file itself (it holds {_names(held)}).")
    require_regular(file, what, DataError)
    if not os.access(file, os.R_OK):
        raise DataError(f"Got {file}, which may not be read, expected {what}: check its permissions.")
    if file.stat().st_size == 0:
        raise DataError(f"Got {file}, which is empty (0 bytes), expected {what}: copy or download it again.")
    return file


def existing_folder(path: str | Path, what: str) -> Path:
    """Give the absolute path of a directory, and refuse one that is missing or a file."""
    folder = existing(path, what)
    if not folder.is_dir():
        raise DataError(f"Got the file {folder}, expected {what}.")
    return folder


def existing(path: str | Path | None, what: str) -> Path:
    """Give the absolute path of a file or a directory, and refuse one that is missing, naming the near ones."""
    if not isinstance(path, str | Path) or not str(path).strip():
        raise DataError(f"Got path={path!r}, expected {what}: say where it is, as dataset.path=… or path=….")
    try:
        path = Path(path).expanduser().absolute()
        if path.exists():
            return path
    except (OSError, ValueError, RuntimeError) as error:  # a name that no system takes, or the home of nobody
        raise DataError(f"Got path={str(path)[:60]!r} ({error}), expected {what}: say where it is.") from None
    if not path.parent.is_dir():
        near = f": there is no directory {path.parent} either"
    else:
        names = sorted(entry.name for entry in path.parent.iterdir())
        close = near_names(path.name, names, most=3)
        near = f": perhaps {_names(close)} in {path.parent}?" if close else f": {path.parent} holds {_names(names[:6])}"
    raise DataError(f"Got {path}, which does not exist, expected {what}{near}.")


def _names(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names) if names else "nothing"


def sha256(path: Path) -> str:
    """Give the checksum of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def naming(file: str | Path) -> Iterator[None]:
    """Put the name of a file before what is refused of its values, where it is not named yet."""
    try:
        yield
    except DataError as error:
        place = str(Path(file).expanduser().absolute())
        raise error if place in str(error) else DataError(f"{place}: {error}") from None


@contextmanager
def reading(what: object, kind: str, advice: str = "copy or download it again") -> Iterator[None]:
    """Refuse a file that a reader fails at: damage breaks the readers of all formats in more ways than can be listed.

    Args:
        what: the file, or a part of it.
        kind: of file expected, without an article.
        advice: what to do.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(
            f"Got {what}, which is truncated, corrupt or no {kind} ({reason}), expected a whole one: {advice}."
        ) from None


def check_whole(what: object, held: int, declared: int, shape: tuple[int, ...]) -> None:
    """Refuse a file that holds fewer bytes of values than its header declares."""
    if held < declared:
        raise DataError(
            f"Got {what} with {held} bytes of values, expected {declared} for the shape {shape} in its header: the "
            "file is truncated; copy or download it again."
        )


def available() -> int | None:
    """Give the bytes of memory that are free now, as far as the system tells; None where it does not.

    Example:
        >>> available() is None or available() > 0
        True
    """
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        free = next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError, IndexError):
        try:
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return None
    for group in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            free = min(free, int(Path(group).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # no limit of a container
    return free


def check_fits(size: int, what: str, advice: str) -> None:
    """Refuse an array that is larger than the memory that is free.

    Args:
        size: of its values, in bytes.
        what: its name in the message.
        advice: what to do instead, a sentence.
    """
    free = available()
    if free is not None and size > free:
        raise DataError(
            f"Got {what} of {size / 2**30:.1f} GiB in memory, expected at most the {free / 2**30:.1f} GiB that are "
            f"free. {advice}"
        )


class Bounded(io.RawIOBase):
    """A stream that is read no further than memory goes: what it is unpacked from may be a thousand times smaller.

    Args:
        stream: to be read.
        most: bytes.
        what: its name in the message.
    """

    def __init__(self, stream: IO[bytes], most: int, what: str) -> None:
        self.stream, self.most, self.what, self.done = stream, most, what, 0

    def readable(self) -> bool:
        """True: it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes.

        Raises:
            DataError: there are more than memory holds.
        """
        chunk = self.stream.read(len(buffer))
        self.done += len(chunk)
        if self.done > self.most:
            raise DataError(
                f"Got {self.what}, which unpacks to more than {self.most / 2**30:.1f} GiB, expected at most a quarter "
                "of the memory that is free. Take a part of it."
            )
        buffer[: len(chunk)] = chunk
        return len(chunk)


class Unchanged:
    """A file that must stay what it is while it is read part by part.

    Args:
        file: the file as it is now.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._then = self._now()

    def check(self) -> None:
        """Compare the file with what it was.

        Raises:
            DataError: where it is gone, has another size, or was written to.
        """
        now = self._now()
        if now != self._then:
            what = "is gone" if now is None else "has changed since it was opened"
            raise DataError(
                f"Got {self.file}, which {what}, expected it to stay as it is while it is read part by part: put it "
                "back and go on from where the run stands, or copy it before it is written to."
            )

    def _now(self) -> tuple[int, int] | None:
        try:
            found = self.file.stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns
