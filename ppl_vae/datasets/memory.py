"""What does not fit into memory is said to be so, before it is read."""

from __future__ import annotations

import os
from pathlib import Path

from ppl_vae.errors import DataError


def available() -> int | None:
    """Bytes of memory that are free now, as far as the system tells; None where it does not.

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

    Raises:
        DataError: if it is.
    """
    free = available()
    if free is not None and size > free:
        raise DataError(
            f"Got {what} of {size / 2**30:.1f} GiB in memory, expected at most the {free / 2**30:.1f} GiB that are "
            f"free. {advice}"
        )
