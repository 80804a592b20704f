"""Errors whose message says what was got, what was expected and what to do."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    "ArgumentError",
    "CheckError",
    "DamagedError",
    "DataError",
    "DataWarning",
    "NonFiniteError",
    "PplVaeError",
    "RunError",
    "UntrustedError",
    "UsageError",
]


class PplVaeError(Exception):
    """Any refusal by ppl_vae; the command line prints its message and exits with 1."""


class DataError(PplVaeError, ValueError):
    """Data that cannot be read, or whose shape, range or support does not fit."""


class ArgumentError(PplVaeError, ValueError, TypeError):
    """An argument of a Python function that cannot be meant: its kind, its value, or together with another."""


class DataWarning(UserWarning):
    """Data that are taken, but not without loss."""


class UsageError(PplVaeError):
    """A request that cannot be meant: an unknown verb, key, option or type (exit code 2)."""


class UntrustedError(UsageError):
    """A class, function or place of files that may be named only by what one trusts: see docs/security.md."""


class CheckError(PplVaeError):
    """A model/guide pair that cannot be trained as it stands; the message lists every finding.

    Attributes:
        findings: What `check` found, each with its kind, place, reason and fix; empty where one thing was refused.
    """

    def __init__(self, message: str = "", findings: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class RunError(PplVaeError):
    """A run directory that is missing, foreign, locked or damaged."""


class DamagedError(RunError):
    """A file that is not what was written there: flipped bits, a part of it, another file, a link in its place."""


class NonFiniteError(PplVaeError, ArithmeticError):
    """A bound that became NaN or infinite; the message names epoch, step and site."""


_NO_MEMORY = re.compile(
    r"can't allocate memory|unable to allocate|out of memory|size calculation overflowed|bad_alloc", re.I
)


def out_of_memory(error: BaseException) -> bool:
    """True where memory did not suffice, or never could: Python and NumPy have a class for it, torch has words.

    Example:
        >>> out_of_memory(MemoryError()), out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
        (True, True)
    """
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error))))


def one_of(key: str, value: str, names: Iterable[str]) -> str:
    """The value, where it is one of the names that there are.

    Raises:
        ArgumentError: it is another, with the names and the nearest of them.

    Example:
        >>> one_of("prior", "normal", ["normal", "flow"])
        'normal'
        >>> one_of("prior", "norml", ["normal", "flow"])
        Traceback (most recent call last):
        ppl_vae.errors.ArgumentError: Got prior='norml', expected one of normal, flow: perhaps 'normal'?
    """
    known = list(names)
    if value in known:
        return value
    near = near_names(str(value), known)
    hint = f": perhaps {near[0]!r}?" if near else "."
    raise ArgumentError(f"Got {key}={value!r}, expected one of {', '.join(known)}{hint}")


def near_names(word: str, words: Iterable[str], most: int = 1, cutoff: float = 0.6) -> list[str]:
    """The names close to a misspelt one, the closest first; upper and lower case count the same.

    Args:
        word: the misspelt name.
        words: the names there are.
        most: how many to give.
        cutoff: how close they have to be, from 0 to 1 (the same).

    Example:
        >>> near_names("Epoch", ["epochs", "batch_size"])
        ['epochs']
    """
    by_case = {name.lower(): name for name in words}
    return [by_case[close] for close in difflib.get_close_matches(word.lower(), by_case, most, cutoff)]
