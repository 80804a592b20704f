"""Imports without the search for cycles of garbage."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def unsearched() -> Iterator[None]:
    """Within, Python does not look for objects that only refer to each other; afterwards as before.

    It looks whenever some hundred objects have been made. Modules make a million, and next to none is garbage: looking
    takes a quarter of the time to import torch and Pyro. Memory that is not in such a cycle is given back as ever.

    Example:
        >>> import gc
        >>> with unsearched():
        ...     gc.isenabled()
        False
        >>> gc.isenabled()
        True
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def load(*names: str) -> None:
    """Import modules for good, in a process of our own, before there is anything of a job in it.

    All that is there then is never looked at again; otherwise each later search for garbage through all objects takes
    as long as a step of a large pair. A pair that was there would never be given back, were it part of a cycle.
    """
    new = [name for name in names if name not in sys.modules]
    if not new:
        return
    with unsearched():
        for name in new:
            importlib.import_module(name)
        gc.freeze()
