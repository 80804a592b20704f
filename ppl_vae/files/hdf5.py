"""HDF5 files that hold what they show: no link, no storage outside, nothing that is larger than what is read of it.

A file of HDF5 may name other files, for its values and for whole groups, which are then read as if they were its own;
and a group may hold itself. Looked at before any reader follows. Imports no torch.
"""

import faulthandler
import mmap
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ppl_vae.errors import PplVaeError, RunError
from ppl_vae.reading import require_regular

HEAP = b"GCOL\x01\x00\x00\x00"
"""The beginning of a heap in which texts of any length lie."""

OBJECTS = 10_000
"""Groups and variables of a file."""

DEPTH = 16
"""Groups within groups."""

ATTRIBUTES = 2**24
"""Bytes of the attributes of one group or variable."""

SPARSE, MOST = 2**28, 2000
"""Bytes of values that a variable may have whatever is stored of it, and else as a multiple of that; deflate packs them
into a thousandth at most."""

FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
"""Those that come with HDF5 and h5py, by their numbers; another would be looked for as a plugin, a program."""


def require_contained(
    path: Path,
    error: type[PplVaeError] = RunError,
    what: str = "netCDF file",
    advice: str = "Delete it and make it again.",
) -> None:
    """Refuse a file of HDF5 that reaches out of itself, or is deeper or larger in its parts than any that is written.

    Args:
        path: of the file.
        error: the class of the refusal.
        what: the kind of file.
        advice: what to do with a damaged one.

    Raises:
        PplVaeError: of that class, naming what the file holds; also for what is no regular file, or no HDF5.
    """
    import h5py

    require_regular(path, f"a {what}", error)
    if at := _endless(path):
        raise error(f"{path} is damaged: its texts at byte {at} lead nowhere. {advice}")
    try:
        with h5py.File(path, "r") as file:
            why = _hostile(h5py, file)
    except Exception as reason:  # damage breaks the library in more ways than can be listed
        said = " ".join(f"{type(reason).__name__}: {reason}".split())[:200]
        raise error(f"{path} is no readable {what} ({said}). {advice}") from None
    if why:
        raise error(f"Got {path} with {why}, expected a file that holds all of its values itself.")


def survives(read: Callable[[], object], seconds: int = 600) -> bool:
    """Tell whether a process lives on after reading a file: one of its own is tried, where there is `fork`.

    Damage in texts of any length, in their types or in the heap that they lie in, ends HDF5 by a signal, and with it
    the process. Errors are no matter here: they come again.

    Args:
        read: reads; what it gives is lost.
        seconds: after which it is taken for lost.
    """
    if not hasattr(os, "fork"):
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, none of which is needed there
        child = os.fork()
    if child:
        return not os.WIFSIGNALED(os.waitpid(child, 0)[1])
    try:
        faulthandler.disable()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        read()
    finally:
        os._exit(0)


def _endless(path: Path) -> int:
    """The place of a heap of texts in which the library would look for ever, or 0.

    A global heap (section III.E of the file format) is a row of objects, each 16 bytes and its own size, rounded up to
    8; number 0 is the space that is left. Where that has no size, HDF5 1.14 takes no step.
    """
    if not path.stat().st_size:
        return 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = 0
        while (start := content.find(HEAP, start)) >= 0 and start + 16 <= len(content):
            place, end = (
                start + 16,
                min(start + int.from_bytes(content[start + 8 : start + 16], "little"), len(content)),
            )
            while place + 16 <= end:
                number = int.from_bytes(content[place : place + 2], "little")
                size = int.from_bytes(content[place + 8 : place + 16], "little")
                if (number == 0 and size < 16) or size > 2**63:
                    return place
                place += size if number == 0 else 16 + -(-size // 8) * 8
            start += 8
    return 0


def _hostile(h5py: Any, file: Any) -> str:
    """A thing that a file holds and none may; nothing where all is well. Groups wait in a list."""
    waiting: list[tuple[Any, str, int]] = [(file, "/", 0)]
    seen = {h5py.h5o.get_info(file.id).addr}
    while waiting:
        group, place, depth = waiting.pop()
        if depth > DEPTH:
            return f"groups in more than {DEPTH} others"
        if why := _attributes(h5py, group, place):
            return why
        for name in group.id:
            where = f"{place}{name.decode('utf-8', 'backslashreplace')}"
            kind = group.id.links.get_info(name).type
            if kind != h5py.h5l.TYPE_HARD:
                return f"a link to another {'place' if kind == h5py.h5l.TYPE_SOFT else 'file'} at {where!r}"
            address = h5py.h5o.get_info(group.id, name).addr
            if address in seen:
                return f"a group or variable that is there twice, at {where!r}"
            seen.add(address)
            if len(seen) > OBJECTS:
                return f"more than {OBJECTS} groups and variables"
            inner = group[name]
            if isinstance(inner, h5py.Group):
                waiting.append((inner, f"{where}/", depth + 1))
            elif isinstance(inner, h5py.Dataset) and (why := _variable(h5py, inner, where)):
                return why
    return ""


def _variable(h5py: Any, variable: Any, where: str) -> str:
    made = variable.id.get_create_plist()
    if made.get_external_count():
        return f"values in another file, {made.get_external(0)[0].decode('utf-8', 'backslashreplace')!r}, at {where!r}"
    if made.get_layout() == h5py.h5d.VIRTUAL:
        return f"values of other variables or files at {where!r}"
    for i in range(made.get_nfilters()):
        if (number := made.get_filter(i)[0]) not in FILTERS:
            return f"values behind the filter {number} at {where!r}"
    stored, size = variable.id.get_storage_size(), variable.size or 0
    if size * variable.dtype.itemsize > max(SPARSE, MOST * stored):
        return f"{size} values in {stored} bytes at {where!r}"
    return _attributes(h5py, variable, where)


def _attributes(h5py: Any, thing: Any, where: str) -> str:
    size = 0
    for i in range(h5py.h5a.get_num_attrs(thing.id)):
        attribute = h5py.h5a.open(thing.id, index=i)
        if attribute.get_space().get_simple_extent_npoints():  # of none, HDF5 takes the size for a failure
            size += attribute.get_storage_size()
    return f"{size} bytes of attributes at {where!r}" if size > ATTRIBUTES else ""
