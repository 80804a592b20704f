"""Files and folders that are replaced in full or not at all, by however many processes at once."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import secrets
import shutil
import socket
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppl_vae.errors import RunError
from ppl_vae.files import manifest
from ppl_vae.files.inside import is_there, no_way_out

_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
"""What a folder meets in whose place there is one already."""


@contextmanager
def replacing(path: str | os.PathLike[str], *, listed: bool = True) -> Iterator[Path]:
    """Give a temporary path; what is written there takes the place of `path` when the block ends without an error.

    Whoever reads sees the old file or the new one, whenever this process is killed, and whatever others write there at
    the same time. Each has a temporary name of its own; what a process that was killed has left is taken away by the
    next that writes in its place.

    Args:
        path: of the file or folder.
        listed: whether the manifest of the run that it lies in, if it does, is to know it; see `files.manifest`.

    Raises:
        RunError: where it cannot be written; what was there before is untouched.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "result.txt"
        >>> with replacing(path) as temporary:
        ...     _ = temporary.write_text("42")
        >>> path.read_text(), [p.name for p in path.parent.iterdir()]
        ('42', ['result.txt'])
    """
    path = Path(path)
    no_way_out(path)
    temporary = path.with_name(f".{path.name}.{_place()}-{os.getpid()}-{secrets.token_hex(6)}.tmp")
    try:
        clear(path)
        yield temporary
        sync(temporary)
        with manifest.entered(path, temporary) if listed else contextlib.nullcontext():
            _move(temporary, path)
        sync(path.parent)
    except OSError as error:
        _remove(temporary)
        raise unwritten(path, error, "The file that was there before is unchanged.") from error
    except BaseException:
        _remove(temporary)
        raise


def write(path: Path, content: bytes | memoryview) -> None:
    """Make a file with this content; what is there already, be it a link, is refused."""
    put(path, content, os.O_EXCL)


def put(path: Path, content: bytes | memoryview, how: int) -> None:
    """Write to a file itself, not to what a link in its place names.

    Args:
        path: of the file.
        content: what to write.
        how: further flags of `open`.
    """
    safe = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how | safe, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "No plain file")
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Wait until a file, or what a folder says of its files, is on the disk, so that it survives a power cut."""
    if os.name == "nt" and path.is_dir():
        return  # there, a folder cannot be synced
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritten(path: Path, error: OSError, rest: str = "") -> RunError:
    """The error that a file cannot be written, by its name."""
    return RunError(
        f"Got {error.strerror or error} when writing {path}, expected a folder that can be written to with room left "
        f"on its disk. {rest}".rstrip()
    )


def clear(path: Path, *, of_all: bool = False) -> None:
    """Take away what processes that were killed have left of writing a file or folder.

    Args:
        path: of the file or folder.
        of_all: whether nobody else can be writing it, on whatever machine.
    """
    left = re.compile(rf"\.{re.escape(path.name)}\.(?:(\w+)-(\d+)-\w+\.)?(tmp|old)")
    with contextlib.suppress(OSError), os.scandir(path.parent) as found:
        names = [match for entry in found if entry.name[0] == "." and (match := left.fullmatch(entry.name))]
        for match in names:
            place, process, kind = match.groups()
            if place is None and kind == "old":
                continue
            if of_all or place is None or (place == _place() and not _lives(int(process))):
                there = path.with_name(match[0])
                if kind == "old" and not is_there(path):
                    os.replace(there, path)  # noqa: PTH105 - every operation on the disk is a function of os
                else:
                    _remove(there)


@functools.cache
def _place() -> str:
    """This machine, and the part of it in which numbers of processes are its own (a container)."""
    own = ""
    with contextlib.suppress(OSError):
        own = str(Path("/proc/self/ns/pid").readlink())
    return f"{zlib.crc32(f'{socket.gethostname()} {own}'.encode()):08x}"


def _lives(process: int) -> bool:
    if os.name == "nt":
        return True  # there, asking would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _move(temporary: Path, path: Path) -> None:
    """Let what is temporary take its place.

    A folder in whose place there is one is the one or the other to a reader but for the moment in between, and none of
    the two is lost.
    """
    if not temporary.is_dir():
        os.replace(temporary, path)  # noqa: PTH105 - every operation on the disk is a function of os
        return
    aside = temporary.with_suffix(".old")
    while True:
        try:
            os.replace(temporary, path)  # noqa: PTH105
        except OSError as error:
            if error.errno not in _TAKEN:
                if is_there(aside) and not is_there(path):
                    os.replace(aside, path)  # noqa: PTH105
                raise
        else:
            _remove(aside)
            return
        _remove(aside)  # another process has put a whole folder in its place since
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, aside)  # noqa: PTH105


def _remove(temporary: Path) -> None:
    """Take what is temporary away, where that is possible: on a read-only disk it is not even there."""
    with contextlib.suppress(OSError):
        if temporary.is_dir() and not temporary.is_symlink():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
