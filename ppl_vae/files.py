"""Files and folders that are replaced in full or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppl_vae.errors import RunError


@contextmanager
def replacing(path: str | os.PathLike[str], mark: str = "tmp") -> Iterator[Path]:
    """Give a temporary path; what is written there takes the place of `path` when the block ends without an error.

    Whoever reads sees the old file (or folder) or the new one, whenever this process is killed. The temporary name is
    the same each time, so a kill leaves at most one, and the next write takes it over.

    Args:
        path: of the file or folder.
        mark: the end of the temporary name. What takes long to write, and may be written by two processes at once, has
            one of its own in each.

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
    temporary = path.with_name(f".{path.name}.{mark}")
    if temporary.is_dir():
        shutil.rmtree(temporary)  # of a process that was killed
    try:
        yield temporary
        sync(temporary)
        if path.is_dir():
            shutil.rmtree(path)  # a folder is not replaced in one step
        os.replace(temporary, path)  # noqa: PTH105 - every operation on the disk is a function of os
        sync(path.parent)
    except OSError as error:
        _remove(temporary)
        raise RunError(
            f"Got {error.strerror or error} when writing {path}, expected a folder that can be written to with room "
            "left on its disk. The file that was there before is unchanged."
        ) from error
    except BaseException:
        _remove(temporary)
        raise


def sync(path: Path) -> None:
    """Wait until a file, or what a folder says of its files, is on the disk, so that it survives a power cut."""
    if os.name == "nt" and path.is_dir():
        return  # there, a folder cannot be synced
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(temporary: Path) -> None:
    """Take what is temporary away, where that is possible: on a read-only disk it is not even there."""
    with contextlib.suppress(OSError):
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
