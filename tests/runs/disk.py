"""A disk whose operations are counted, and which ends a process, is interrupted or is full at any one of them."""

import contextlib
import errno
import os
from collections.abc import Iterator

import pytest

OPERATIONS = ("open", "write", "fsync", "replace", "mkdir", "unlink")


class Killed(BaseException):
    """The process is dead: nothing that it would still do reaches the disk."""


class Disk:
    """Lets operations in a folder through until a chosen one.

    Args:
        folder: whose operations count.
        at: the number of the operation that is not done; None counts only.
        how: `killed` and `torn` raise there and at every later operation (`torn` writes half of what it was given),
            `exit` ends the process by `os._exit`, `ctrl-c` raises KeyboardInterrupt once, `full` has no room left from
            then on.
    """

    def __init__(self, folder, at: int | None = None, how: str = "killed") -> None:
        self.folder, self.at, self.how = os.fspath(folder), at, how
        self.log: list[tuple[str, str]] = []
        self.fired = False
        self._opened: dict[int, str] = {}

    @contextlib.contextmanager
    def __call__(self) -> Iterator["Disk"]:
        with pytest.MonkeyPatch.context() as patch:
            for name in OPERATIONS:
                patch.setattr(os, name, self._counted(name, getattr(os, name)))
            yield self

    def _counted(self, name, operation):
        def counted(*args, **kwargs):
            place = self._opened.get(args[0]) if isinstance(args[0], int) else os.fspath(args[0])
            reads = name == "open" and not args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if reads or place is None or not f"{place}/".startswith(f"{self.folder}/"):
                return operation(*args, **kwargs)
            if self.fired and self.how in ("killed", "torn"):
                raise Killed
            number = len(self.log)
            self.log.append((name, place.removeprefix(self.folder)))
            if number == self.at:
                self.fired = True
                if self.how == "torn" and name == "write":
                    operation(args[0], bytes(args[1])[: len(args[1]) // 2])
                self._strike()
            if self.fired and self.how == "full" and name in ("open", "write", "mkdir"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            result = None if name == "fsync" else operation(*args, **kwargs)
            if name == "open":
                self._opened[result] = place
            return result

        return counted

    def _strike(self) -> None:
        if self.how in ("killed", "torn"):
            raise Killed
        if self.how == "ctrl-c":
            raise KeyboardInterrupt
        if self.how == "exit":
            os._exit(9)
