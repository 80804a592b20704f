"""Functions that look at what they are given before they do anything, and tell what they could not use.

A door stands before a public function: its arguments are held to the kinds that its annotations name. What fails behind
it all the same, in lines of this package and of those that it is made with alone, is told as a refusal of what was
given: with names and kinds, and the error itself as its cause. An error that passed through a user's own program, or
through a package of another's, stays what it is.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from threading import local
from typing import Any, ParamSpec, TypeVar, cast

from ppl_vae.errors import ArgumentError, PplVaeError, near_names, out_of_memory
from ppl_vae.frames import in_known_lines
from ppl_vae.kinds import hints_of, refuse_misfits, shown

PACKAGE = __name__.partition(".")[0]
_FOLDER = str(Path(__file__).parent)

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

RAW = (
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    ZeroDivisionError,
    RuntimeError,
    NotImplementedError,
    RecursionError,
    MemoryError,
)
"""Errors of Python and torch that say nothing of what was given; those of libraries' own classes do."""

ARITHMETIC = frozenset({"numpy", "torch", "scipy"})
"""Libraries whose own classes of these say no more: a matrix is singular, memory is too small."""

_inside = local()
"""How many doors this thread stands behind: what fails is told by the outermost."""


def checked(
    function: Callable[P, R], error: type[PplVaeError] = ArgumentError, but: Collection[str] = ()
) -> Callable[P, R]:
    """Let a function refuse arguments that are not of the kinds that its annotations name, before it does anything.

    An argument that lacks an attribute which the function asks of it is refused by name, too.

    Raises:
        ArgumentError: when it is called with such an argument, or by a name that it does not take.

    Example:
        >>> @checked
        ... def widths(hidden: Sequence[int], scale: float = 1.0): ...
        >>> widths([3, "4"])
        Traceback (most recent call last):
        ppl_vae.errors.ArgumentError: Got hidden[1]='4', expected a whole number.
        >>> widths([3], sale=2)
        Traceback (most recent call last):
        ppl_vae.errors.ArgumentError: Got sale=… for widths, expected its arguments: hidden, scale. Did you mean scale?
    """
    door = _Door(function, getattr(function, "__name__", "this"), error)
    door.but = frozenset(but)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        with door.passed(args, kwargs):
            return function(*args, **kwargs)

    called.__checked__ = True  # type: ignore[attr-defined]
    return called


def checked_class(cls: C, error: type[PplVaeError] = ArgumentError) -> C:
    """The same of the constructor of a class, its own or that of a parent of ours, and of its classmethods."""
    home = next(c for c in cls.__mro__ if "__init__" in c.__dict__)
    if home.__module__.startswith(f"{PACKAGE}."):
        _check_init(home, error)
    for name, member in list(vars(cls).items()):
        if isinstance(member, classmethod | staticmethod) and not name.startswith("_"):
            inner = member.__func__
            if not getattr(inner, "__checked__", False):
                setattr(cls, name, type(member)(_checked_method(inner, isinstance(member, classmethod), error)))
    return cls


def _check_init(cls: Any, error: type[PplVaeError]) -> None:
    own = cls.__dict__["__init__"]
    if not getattr(own, "__checked__", False):
        cls.__init__ = _checked_method(own, True, error, cls.__name__)


def _checked_method(
    own: Callable[..., Any], has_self: bool, error: type[PplVaeError], name: str = ""
) -> Callable[..., Any]:
    door = _Door(own, name or own.__name__, error, skip=int(has_self))

    @functools.wraps(own)
    def called(*args: Any, **kwargs: Any) -> Any:
        with door.passed(args[door.skip :], kwargs):
            return own(*args, **kwargs)

    called.__checked__ = True  # type: ignore[attr-defined]
    return called


class _Door:
    """The arguments of a function, looked at before it is called, and asked of afterwards.

    Args:
        function: which it is of.
        name: in messages.
        error: the class of what is refused by kind.
        skip: arguments at the beginning that are not looked at.
    """

    but: frozenset[str] = frozenset()
    """Arguments that the function itself answers for, in better words."""

    def __init__(self, function: Callable[..., Any], name: str, error: type[PplVaeError], skip: int = 0) -> None:
        self.function, self.name, self.error, self.skip = function, name, error, skip
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())[skip:]
        self.signature = signature.replace(parameters=parameters)
        self.names = [p.name for p in parameters]
        self.several = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "")
        self.others = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), "")

    @functools.cached_property
    def hints(self) -> dict[str, Any]:
        """The kinds that annotations name, found when first needed: importing a module imports nothing for it."""
        return {name: hint for name, hint in hints_of(self.function).items() if name not in self.but}

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by their names."""
        try:
            given = dict(self.signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            if hasattr(self.function, "__signature__"):
                return {}  # it looks at names itself, see `datasets.keywords`
            raise wrong_call(self.name, self.names, kwargs, error) from None
        several = given.pop(self.several, ())
        given |= given.pop(self.others, {})
        return given | {f"{self.several}[{i}]": value for i, value in enumerate(several)}

    @contextlib.contextmanager
    def passed(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[None]:
        """Look at the arguments, then let the call be made."""
        given = self.given(args, kwargs)
        hint = self.hints.get(self.several, Any)
        refuse_misfits(given, self.hints | {k: hint for k in given if k.startswith(f"{self.several}[")}, self.error)
        depth = getattr(_inside, "doors", 0)
        _inside.doors = depth + 1
        try:
            yield
        except Exception as error:
            told = self._without(error, given) if isinstance(error, AttributeError) else None
            if told is not None:
                raise told from None
            kind = type(error)
            raw = kind in RAW or (isinstance(error, RAW) and kind.__module__.partition(".")[0] in ARITHMETIC)
            if depth or not raw or not in_known_lines(error):
                raise
            raise self._unusable(error, given) from error
        finally:
            _inside.doors = depth

    def _without(self, error: AttributeError, given: Mapping[str, Any]) -> ArgumentError | None:
        """The refusal of an argument that lacks what was asked of it, if that is what failed."""
        names = [k for k, v in given.items() if v is error.obj]
        if not names or (error.obj is None and len(names) > 1) or not _is_ours(error):
            return None
        return ArgumentError(
            f"Got {names[0]}={shown(error.obj)}, which has no {error.name}, expected one that {self.name} can use."
        )

    def _unusable(self, error: Exception, given: Mapping[str, Any]) -> ArgumentError:
        """The refusal of arguments with which something failed behind the door."""
        arguments = ", ".join(f"{k}={shown(v)}" for k, v in given.items())
        *_, last = traceback.extract_tb(error.__traceback__)
        said = (str(error).strip().splitlines() or [""])[0][:300]
        got = f"Got {arguments[:500] or 'no arguments'}"
        told = ArgumentError(
            f"{got}, with which {self.name} takes more memory than there is ({said}), expected less: take fewer data, "
            "particles or units."
            if out_of_memory(error)
            else f"{got}, with which {self.name} cannot go on ({type(error).__name__} in {Path(last.filename).name}, "
            f"line {last.lineno}: {said}), expected arguments as its documentation has them. Where they are, this is a "
            "fault of ppl_vae: please report it, with the whole traceback."
        )
        told.__dict__.update(error.__dict__)  # such as the history of a training that failed
        return told


def _is_ours(error: BaseException) -> bool:
    """True if it was a line of this package that failed, not one of a user's or of another package."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name != "__getattr__"]
    return bool(frames) and frames[-1].filename.startswith(_FOLDER)


def wrong_call(function: str, names: Sequence[str], kwargs: Mapping[str, Any], error: TypeError) -> ArgumentError:
    """The answer to a call that no signature fits: what it takes, and the name that was meant."""
    unknown = next((key for key in kwargs if key not in names), None)
    takes = f"{function}, expected its arguments: {', '.join(names)}"
    if unknown is None:
        return ArgumentError(f"Got a call of {takes}; {error}.")
    near = near_names(unknown, names)
    hint = f" Did you mean {near[0]}?" if near else ""
    return ArgumentError(f"Got {unknown}=… for {takes}.{hint}")


def doors(room: str, error: type[PplVaeError] = ArgumentError) -> None:
    """Let all that a room offers look at its arguments: its `__all__`, functions and constructors, where they are made.

    Called once at the end of a room's `__init__`; what a module of the room calls within the room is the same object.

    Args:
        room: its name.
        error: the class of what is refused by kind.
    """
    module: Any = sys.modules[room]
    for name in getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]:
        thing = getattr(module, name)
        home = sys.modules.get(getattr(thing, "__module__", ""))
        if home is None or not home.__name__.startswith(f"{PACKAGE}."):
            continue
        if inspect.isclass(thing):
            if not issubclass(thing, BaseException):
                checked_class(thing, error)
        elif inspect.isfunction(thing) and not getattr(thing, "__checked__", False):
            own = thing.__name__
            made = cast(Any, checked(thing, error))
            setattr(module, name, made)
            if getattr(home, own, None) is thing:
                setattr(home, own, made)
