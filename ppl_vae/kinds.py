"""The kinds of values that annotations name, and functions that look at whether what they are given is of these."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
import math
import os
import sys
import types
from collections.abc import Callable, Collection, Iterator, Mapping, MappingView, Sequence, Set
from numbers import Integral, Number, Real
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from ppl_vae.errors import ArgumentError, DataError, PplVaeError, near_names

PACKAGE = __name__.partition(".")[0]
_FOLDER = str(Path(__file__).parent)

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

Measured = Annotated[float, "NaN too"]
"""A number that was computed and may have come out as NaN, as a metric of an epoch may."""

_LISTS = (Sequence, list, tuple, Collection, set, frozenset, Set)
_MAPS = (Mapping, dict)
_entries = functools.cache(functools.partial(get_type_hints, include_extras=True))


def misfit(value: Any, hint: Any, where: str = "") -> tuple[str, Any, str] | None:
    """The place at which a value is not of the kind that an annotation names, what stands there, and what is expected.

    None where it fits. A number is a number of any library; a boolean is none, and NaN only if it is `Measured`; lists
    and tuples are one another's equal; of a TypedDict those keys are looked at that are there. What is no annotation of
    a kind (`Any`, a type variable, a name that cannot be found) fits everything.

    Example:
        >>> misfit(3, float), misfit([8, 8.5], Sequence[int], "hidden")
        (None, ('hidden[1]', 8.5, 'a whole number'))
        >>> misfit("relu", Literal["elu", "tanh"] | None, "activation")
        ('activation', 'relu', 'one of elu, tanh or None')
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if is_typeddict(hint):
        if not isinstance(value, Mapping):
            return where, value, told(hint)
        return _first(misfit(value[k], h, _in(where, k)) for k, h in _entries(hint).items() if k in value)
    if origin is Annotated:
        nan = isinstance(value, Real) and value != value
        return None if hint == Measured and nan else misfit(value, arguments[0], where)
    if origin in (Union, types.UnionType):
        if any(misfit(value, a) is None for a in arguments):
            return None
        inner = [m for a in arguments if get_origin(a) and (m := misfit(value, a, where)) and m[0] != where]
        return inner[0] if len(inner) == 1 else (where, value, told(hint))
    if origin is Literal:
        return None if any(type(value) is type(a) and value == a for a in arguments) else (where, value, told(hint))
    if origin in _LISTS:
        ordered = origin in (Sequence, list, tuple) and not isinstance(value, MappingView)
        if not _is_list(value) or (ordered and isinstance(value, Set)):
            return where, value, told(hint)
        item = arguments[0] if arguments else Any
        if origin is tuple and arguments and Ellipsis not in arguments:
            if len(value) != len(arguments):
                return where, value, told(hint)
            return _first(misfit(v, a, f"{where}[{i}]") for i, (v, a) in enumerate(zip(value, arguments, strict=True)))
        return _first(misfit(v, item, f"{where}[{i}]") for i, v in enumerate(value))
    if origin in _MAPS:
        if not isinstance(value, Mapping):
            return where, value, told(hint)
        name, item = arguments
        found = _first(misfit(k, name, f"a key of {where}") for k in value)
        return found or _first(misfit(v, item, _in(where, k)) for k, v in value.items())
    if origin is type:
        return None if inspect.isclass(value) else (where, value, told(hint))
    return None if _is_one(value, origin or hint) else (where, value, told(hint))


def _in(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _first(found: Iterator[tuple[str, Any, str] | None]) -> tuple[str, Any, str] | None:
    return next((m for m in found if m is not None), None)


def _is_list(value: Any) -> bool:
    """Several values in an order, that can be walked through more than once; a text is one value."""
    if isinstance(value, str | bytes | bytearray | Mapping) or inspect.isclass(value):
        return False
    return isinstance(value, Sequence | Set | MappingView)


def _is_one(value: Any, hint: Any) -> bool:
    if hint is bool:
        return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")
    if hint is int:
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        return (whole and -(2**63) <= value < 2**63) or _is_symbol(value)  # one that a tensor can hold
    if hint is float:
        return _is_number(value)
    if hint is type(None):
        return value is None
    if hint is Callable or hint is getattr(types, "FunctionType", None):
        return callable(value)
    if hint is object or not inspect.isclass(hint) or issubclass(hint, type):
        return True
    if getattr(hint, "_is_protocol", False):
        names = [n for n in dir(hint) if not n.startswith("_")] + list(getattr(hint, "__annotations__", {}))
        return hint.__module__.split(".")[0] != "ppl_vae" or (
            not inspect.isclass(value) and all(hasattr(value, name) for name in names)
        )
    if hint is os.PathLike:
        return isinstance(value, os.PathLike)
    try:
        return isinstance(value, hint)
    except TypeError:
        return True


def _is_symbol(value: Any) -> bool:
    """A number that is not known yet, as while torch traces a program."""
    return type(value).__name__ in ("SymInt", "SymFloat")


def _is_number(value: Any) -> bool:
    """A real number, of Python's, of numpy's, or as a tensor of one value; not NaN."""
    if _is_symbol(value):
        return True
    if isinstance(value, bool) or not isinstance(value, Number):
        if getattr(value, "ndim", None) != 0 or "complex" in str(getattr(value, "dtype", "")):
            return False
    elif not isinstance(value, Real):
        return False
    if isinstance(value, int) and abs(value) >= 2**63:
        return False  # which no tensor holds
    try:
        return not math.isnan(float(value))
    except OverflowError:
        return False
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return True  # a number that is not known yet, as while a program is traced


_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "None",
    bytes: "bytes",
    os.PathLike: "a path",
    dict: "a mapping",
    list: "a list",
}
_PLURAL = {"a whole number": "whole numbers", "a number": "numbers", "a text": "texts", "true or false": "booleans"}


def told(hint: Any) -> str:
    """An annotation in words.

    Example:
        >>> told(Mapping[str, int]), told(Sequence[float] | None), told(Callable[[int], str])
        ('a mapping of whole numbers', 'a list of numbers or None', 'something that can be called')
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return told(arguments[0])
    if origin in (Union, types.UnionType):
        words = list(dict.fromkeys(told(a) for a in arguments))
        return " or ".join(words)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in _LISTS or origin in _MAPS:
        name = "mapping" if origin in _MAPS else "list"
        items = [a for a in arguments if a is not Ellipsis]
        inner = told(items[-1]) if items else "anything"
        return f"a {name}" if inner == "anything" else f"a {name} of {_PLURAL.get(inner, inner)}"
    if origin is Callable or hint is Callable:
        return "something that can be called"
    if is_typeddict(hint):
        return "a mapping"
    one = origin or hint
    if one in _WORDS:
        return _WORDS[one]
    own: Any = getattr(one, "__told__", None)
    if own:
        return str(own)
    name = getattr(one, "__name__", "")
    return f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}" if inspect.isclass(one) else "anything"


def shown(value: Any) -> str:
    """A value in a few letters, whatever its `repr` does.

    Example:
        >>> shown([1] * 1000), shown(int)
        ('[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1…', 'the class int')
    """
    if isinstance(value, functools.partial):
        return shown(value.func)
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    if isinstance(getattr(value, "shape", None), tuple) and hasattr(value, "dtype"):
        return f"a {type(value).__name__} of shape {tuple(value.shape)}"
    if value is not None and not isinstance(value, str | bytes | Number | list | tuple | dict | set | frozenset | Path):
        return f"a {type(value).__name__}"
    if isinstance(value, tuple | list) and any(hasattr(v, "dtype") for v in value[:4]):
        return f"a {type(value).__name__} ({', '.join(map(shown, value[:4]))}{', …' * (len(value) > 4)})"
    try:
        text = repr(value)
    except Exception:  # of somebody else's class, or too deep
        text = f"a {type(value).__name__}"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 60 else f"{text[:56]}…"


def refuse_misfits(
    given: Mapping[str, Any], hints: Mapping[str, Any], error: type[PplVaeError] = ArgumentError
) -> None:
    """Refuse the first argument that is not of the kind that its annotation names.

    Raises:
        PplVaeError: of the class given, with its name, what was got and what was expected.
    """
    for name, value in given.items():
        found = misfit(value, hints.get(name, Any), name) if name in hints else None
        if found is not None:
            where, got, expected = found
            near = near_names(got, _words(hints[name])) if isinstance(got, str) and len(got) < 99 else []
            own = f" Is its .{name} meant?" if name in dir(type(got)) else ""
            own = " Pass it without calling it." if expected.startswith(told(Callable)) else own
            end = f": perhaps {near[0]!r}?" if near else f".{own}"
            raise error(f"Got {where}={shown(got)}, expected {expected}{end}")


def _words(hint: Any) -> list[str]:
    """The texts that an annotation lists, wherever its `Literal` stands."""
    own = get_args(hint) if get_origin(hint) is Literal else ()
    return [w for w in own if isinstance(w, str)] + [w for a in get_args(hint) for w in _words(a)]


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of the parameters of a function; names that cannot be found stand for anything."""
    signature = inspect.signature(function)
    space = getattr(sys.modules.get(getattr(function, "__module__", "")), "__dict__", {})
    inner = inspect.unwrap(function)
    space = {**_for_checkers(inner.__module__), **getattr(inner, "__globals__", {}), **space}
    found: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        hint = parameter.annotation
        if hint is parameter.empty:
            continue
        if isinstance(hint, str):
            with contextlib.suppress(Exception):  # names that are imported for a type checker alone
                found[name] = _resolved(hint, space)
        else:
            found[name] = hint
        if name in found and parameter.default is None:
            found[name] = found[name] | None if not isinstance(found[name], str | ForwardRef) else Any
    return found


@functools.cache
def _for_checkers(module: str) -> dict[str, Any]:
    """The classes of ours that a module imports for a type checker alone, so that importing it stays light."""
    found: dict[str, Any] = {}
    source = sys.modules.get(module)
    if source is None or not module.startswith(f"{PACKAGE}."):
        return found
    for node in ast.walk(ast.parse(inspect.getsource(source))):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for line in node.body:
                if isinstance(line, ast.ImportFrom) and str(line.module).startswith(PACKAGE):
                    home = importlib.import_module(str(line.module))
                    found |= {a.asname or a.name: getattr(home, a.name, Any) for a in line.names}
    return found


def _resolved(hint: str, space: dict[str, Any]) -> Any:
    return get_type_hints(types.SimpleNamespace(__annotations__={"x": hint}), space, space, include_extras=True)["x"]


def numbers(value: Any, name: str, axes: int | None = None, *, finite: bool = False) -> Any:
    """An array of float64.

    Args:
        value: of anything that numpy takes for an array, a tensor too.
        name: of the argument.
        axes: how many it has, the first over data.
        finite: whether NaN and infinities are refused.

    Raises:
        DataError: it is none, has other axes, or no value.

    Example:
        >>> numbers([[1, 2]], "codes", 2).shape
        (1, 2)
        >>> numbers("x", "codes")
        Traceback (most recent call last):
        ppl_vae.errors.DataError: Got codes='x', expected an array of numbers.
    """
    import numpy as np

    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
        plain = np.asarray(value)
        if plain.dtype.kind not in "biuf":
            raise TypeError
        array = plain.astype(np.float64)
    except Exception:  # of whatever kind: anything may be asked to be an array
        raise DataError(f"Got {name}={shown(value)}, expected an array of numbers.") from None
    if not array.size or array.ndim == 0 or (axes is not None and array.ndim != axes):
        expected = "at least one axis" if axes is None else f"{axes} axes, the first over data"
        raise DataError(f"Got {name} of shape {array.shape}, expected {expected}, and values.")
    if finite and not np.isfinite(array).all():
        raise DataError(f"Got {name} with values that are not finite, expected numbers.")
    return array
