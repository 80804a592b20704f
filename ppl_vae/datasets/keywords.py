"""Functions that share keywords: named in their signatures, filled in with their defaults, others refused by name."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, cast, get_args, get_type_hints

from ppl_vae.errors import ArgumentError, near_names

P = ParamSpec("P")
R = TypeVar("R")


def source(function: Callable[P, R]) -> Callable[P, R]:
    """Give a function of ``**how: Unpack[T]`` the signature that says so, and refuse keywords that are not in it.

    It is called with every keyword of T: those left out have the defaults of the constant of T's name in capitals.

    Raises:
        ArgumentError: when it is called with an unknown keyword.

    Example:
        >>> from typing import Unpack
        >>> from ppl_vae.datasets.preparation import Basics
        >>> @source
        ... def numbers(n: int, **how: Unpack[Basics]) -> dict[str, object]:
        ...     return {"n": n, **how}
        >>> numbers(3, seed=1)
        {'n': 3, 'with_labels': False, 'labelled': None, 'dtype': None, 'seed': 1, 'missing': None}
        >>> numbers(3, sede=1)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ppl_vae.errors.ArgumentError: Got sede=1 for numbers, expected only n, with_labels, ...: perhaps 'seed'?
    """
    signature, hints = inspect.signature(function), get_type_hints(function)
    known = {name: p for name, p in signature.parameters.items() if p.kind is not inspect.Parameter.VAR_KEYWORD}
    defaults: dict[str, Any] = {}
    for name in signature.parameters.keys() - known.keys():
        (kind,) = get_args(hints[name])
        defaults = getattr(sys.modules[kind.__module__], kind.__name__.upper())
        known |= {
            key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=defaults[key], annotation=hint)
            for key, hint in get_type_hints(kind).items()
        }

    @functools.wraps(function)
    def checked(*args: Any, **given: Any) -> R:
        for key, value in given.items():
            if key not in known:
                expected = f"{', '.join(known)}{perhaps(key, known)}"
                raise ArgumentError(f"Got {key}={value!r} for {function.__name__}, expected only {expected}")
        return cast(Callable[..., R], function)(*args, **{**defaults, **given})

    checked.__signature__ = signature.replace(parameters=list(known.values()))  # type: ignore[attr-defined]
    return cast(Callable[P, R], checked)


def perhaps(got: str, known: Iterable[str]) -> str:
    """Give the end of a message: the known name that is nearest to the one got, if any is near.

    Example:
        >>> perhaps("digit", ["digits", "mnist"]), perhaps("x", ["digits"])
        (": perhaps 'digits'?", '.')
    """
    close = near_names(got, known)
    return f": perhaps {close[0]!r}?" if close else "."
