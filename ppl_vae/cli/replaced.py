"""Parts of Hydra replaced for the time of one command: it offers no other way to choose them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def replaced(owner: Any, **values: Any) -> Iterator[None]:
    """Let attributes of a class or module have other values within, and what they had before afterwards.

    Example:
        >>> import math
        >>> with replaced(math, pi=3):
        ...     math.pi
        3
        >>> math.pi == 3
        False
    """
    before = {name: vars(owner)[name] for name in values if name in vars(owner)}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name in values:
            if name in before:
                setattr(owner, name, before[name])
            else:
                delattr(owner, name)
