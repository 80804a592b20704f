"""Does a value from a config fit an annotation? Literal, Union, containers, numbers; no torch needed."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints


class Misfit(Exception):  # noqa: N818 - an answer, not a failure
    """The value does not fit the annotation."""


class Built:
    """Stands for a value that a nested `_target_` will build: its own signature has been checked."""


def fit_value(value: Any, hint: Any) -> Any:
    """The value as the annotation wants it (a list as a tuple, an option's name as its Enum).

    Example:
        >>> fit_value([256, 64], tuple[int, ...])
        (256, 64)

    Raises:
        Misfit: if it does not fit.
    """
    if isinstance(value, Built) or hint in (Any, inspect.Parameter.empty, object) or isinstance(hint, (str, TypeVar)):
        return value
    if hasattr(hint, "__value__"):  # `type X = …`
        return fit_value(value, hint.__value__)
    if hasattr(hint, "__supertype__"):  # NewType
        return fit_value(value, hint.__supertype__)
    origin = get_origin(hint)
    if origin is Annotated:
        return fit_value(value, get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return _fit_union(value, get_args(hint))
    if origin is Literal:
        return _require(any(value == a and type(value) is type(a) for a in get_args(hint)), value)
    if hint in (None, types.NoneType):
        return _require(value is None, value)
    if origin is not None:
        return _fit_container(value, origin, get_args(hint))
    return _fit_class(value, hint)


def _fit_union(value: Any, choices: tuple[Any, ...]) -> Any:
    # 3 fits `float | int` as the int it is: exact types first.
    exact = [c for c in choices if isinstance(c, type) and type(value) is c]
    for choice in (*exact, *choices):
        try:
            return fit_value(value, choice)
        except Misfit:
            continue
    raise Misfit


def _fit_container(value: Any, origin: Any, args: tuple[Any, ...]) -> Any:
    if origin is type or origin is Callable or (isinstance(origin, type) and issubclass(origin, Callable)):  # type: ignore[arg-type]
        return _require(callable(value), value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _require(isinstance(value, Mapping), value)
        return {fit_value(k, args[0]): fit_value(v, args[1]) for k, v in value.items()} if args else value
    if isinstance(origin, type) and issubclass(origin, tuple):
        _require(isinstance(value, (list, tuple)), value)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(fit_value(v, args[0]) for v in value)
        _require(len(value) == len(args), value)
        return tuple(fit_value(v, a) for v, a in zip(value, args, strict=True))
    if isinstance(origin, type) and issubclass(origin, (Iterable, Collection, Sequence)):
        _require(isinstance(value, (list, tuple)), value)
        fitted = [fit_value(v, args[0]) for v in value] if args else list(value)
        return set(fitted) if issubclass(origin, (set, frozenset)) else fitted
    return value


def _fit_class(value: Any, hint: Any) -> Any:
    if not isinstance(hint, type):
        return value
    if hint is float:
        _require(isinstance(value, (int, float)) and not isinstance(value, bool), value)
        return float(value)
    if hint is int:
        return _require(isinstance(value, int) and not isinstance(value, bool), value)
    if hint is str:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)  # path=2024 is read as a number
        return _require(isinstance(value, str), value)
    if issubclass(hint, Enum):
        for member in hint:
            if value in (member.name, member.value):
                return member
        raise Misfit
    if hint.__name__ in ("Path", "PathLike"):
        _require(isinstance(value, (str, Path)), value)
        return Path(value)
    if hint in (list, tuple, dict, set) or getattr(hint, "__module__", "") == "collections.abc":
        return _fit_container(value, hint, ()) if hint is not tuple else _require(isinstance(value, list), value)
    if hint.__name__ == "dtype" and isinstance(value, str):
        import torch

        dtype = getattr(torch, value.removeprefix("torch."), None)
        return _require(isinstance(dtype, torch.dtype), dtype)
    if getattr(hint, "_is_protocol", False):
        return value if not isinstance(value, (str, int, float, list, dict)) else _require(False, value)
    return _require(isinstance(value, hint), value)


def _require(fits: bool, value: Any) -> Any:
    if not fits:
        raise Misfit
    return value


def options(hint: Any) -> list[str]:
    """The names a value may take: Literals and Enums inside the annotation."""
    if get_origin(hint) is Literal:
        return [str(a) for a in get_args(hint)]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return [m.name for m in hint]
    return [name for arg in get_args(hint) for name in options(arg)]


def describe(hint: Any) -> str:
    """The annotation in words short enough for a message."""
    if hint in (Any, inspect.Parameter.empty):
        return "any value"
    if get_origin(hint) is Literal:
        return " | ".join(str(a) for a in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(describe(a) for a in get_args(hint))
    if hint is types.NoneType:
        return "null"
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
    if hint in names:
        return names[hint]
    if isinstance(hint, type) and get_origin(hint) is None:
        return hint.__name__
    return str(hint).replace("collections.abc.", "").replace("typing.", "")


def parameters(target: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a class's constructor or of a function, annotations resolved where they can be."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return {}
    owner = target
    if isinstance(target, type):
        owner = target.__init__ if "__init__" in vars_of(target) else target.__new__  # type: ignore[misc]
        if getattr(owner, "__module__", None) == "torch.nn.modules.module":
            return {}  # a module without a constructor of its own: nn.Module's `*args, **kwargs` takes nothing
    try:
        hints = get_type_hints(owner, include_extras=False)
    except Exception:  # an annotation that names what is only imported for type checkers
        hints = {}
    found = {}
    for name, parameter in signature.parameters.items():
        hint = hints.get(name, parameter.annotation)
        found[name] = parameter.replace(annotation=Any if isinstance(hint, str) else hint)
    return found


def vars_of(cls: type) -> set[str]:
    """Names defined by a class or a parent other than `object`."""
    return {name for base in cls.__mro__ if base is not object for name in vars(base)}


def accepts_any(found: Mapping[str, inspect.Parameter]) -> bool:
    """Whether a signature takes any keyword (`**kwargs`)."""
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in found.values())
