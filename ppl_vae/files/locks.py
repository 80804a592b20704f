"""Locks: of a run, by the process that trains it, and of what several processes read, change and write.

A lock ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_OWN = hasattr(fcntl, "F_OFD_GETLK") and sys.platform == "linux" and sys.maxsize > 2**32
"""Whether locks of open files are there, of which one may ask who has them without taking them."""

_FLOCK = "hhqqi4x"
"""`struct flock` of fcntl(2): type, whence, start, length, process."""

_SAFE = 0 if fcntl is None else os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

PATIENCE = 0.5
"""Seconds in which a lock is tried for again where others may only have looked whether it is held."""


class Lock:
    """A lock on a file, held by one process at a time.

    Args:
        path: of the file, which is made; a link in its place is not followed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: Any = None

    def acquire(self) -> bool:
        """Take the lock; False where another process has it.

        Raises:
            OSError: the file cannot be made.
        """
        if fcntl is None:
            from filelock import FileLock, Timeout

            lock = FileLock(self.path, timeout=PATIENCE)
            try:
                lock.acquire()
            except Timeout:
                return False
            self._held = lock
            return True
        until = time.monotonic() + PATIENCE
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | _SAFE, 0o644)
            if _taken(descriptor) and _is_at(descriptor, self.path):
                self._held = descriptor
                return True
            # Looks of earlier versions, and on systems without locks of open files, are over in a moment.
            is_owned = _OWN and _is_owned(descriptor)
            os.close(descriptor)
            if is_owned or time.monotonic() > until:
                return False
            time.sleep(0.01)

    def release(self) -> None:
        """Give the lock up, if it is held."""
        held, self._held = self._held, None
        if held is None:
            return
        if fcntl is None:
            held.release()
        else:
            os.close(held)


def _is_at(descriptor: int, path: Path) -> bool:
    """False for a file that was deleted since it was opened, the lock on which keeps nobody out."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _OWN:  # by which others see that it is held
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError:
        return False
    return True


def _is_owned(descriptor: int) -> bool:
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    return bool(struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)


def is_held(path: Path) -> bool:
    """True if a process holds the lock; asking does not take it, so that none is kept from taking it."""
    if fcntl is None:
        lock = Lock(path)
        taken = lock.acquire() if path.exists() else True
        lock.release()
        return not taken
    try:
        descriptor = os.open(path, os.O_RDONLY | _SAFE)
    except OSError:  # nobody's
        return False
    try:
        if _OWN:
            return _is_owned(descriptor) or _has_flock(os.fstat(descriptor))
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _has_flock(found: os.stat_result) -> bool:
    """True where Linux's list of locks names the file: those of earlier versions can be asked for in no other way."""
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        with Path("/proc/locks").open(encoding="ascii") as file:
            return any(" FLOCK " in line and place in line.split() for line in file)
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def exclusively(folder: Path) -> Iterator[None]:
    """One process at a time: within, a file in the folder can be read, changed and written.

    It waits for the others. The lock is on the folder itself, and leaves no file there; where the file system has
    none on folders (NFS), on a file in it.
    """
    if fcntl is None:
        from filelock import FileLock

        with FileLock(folder / ".manifest.lock"):
            yield
        return
    with contextlib.ExitStack() as opened:
        try:
            _wait(opened, os.open(folder, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            _wait(opened, os.open(folder / ".manifest.lock", os.O_RDWR | os.O_CREAT | _SAFE, 0o644))
        yield


def _wait(opened: contextlib.ExitStack, descriptor: int) -> None:
    opened.callback(os.close, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
