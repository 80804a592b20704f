"""From `_target_` and keys to objects: found, held to the target's signature, then built.

Hydra's own `instantiate` checks neither names nor types and refuses what Pyro's handlers return, so this is ours.
A class is constructed with its keys. A function is, for models and guides, the Pyro program itself with its keys bound;
elsewhere it is called. Constructors that name `spec`, `likelihood` or `model` receive them.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, TypeVar, Union, Unpack, get_args, get_origin, get_type_hints

from ppl_vae.config.schema import near
from ppl_vae.config.signature import INJECTED
from ppl_vae.errors import PplVaeError, UsageError


class AnnotationMismatch(Exception):  # noqa: N818 - an answer, not a failure
    """The value does not fit the annotation."""


class Built:
    """Stands for a value that a nested `_target_` will build: its own signature has been checked."""


def fit_value(value: Any, hint: Any) -> Any:
    """The value as the annotation wants it (a list as a tuple, an option's name as its Enum).

    An integer is a `float` as it is, as in Python: `validation=200` is a number of data, and 200.0 would be a share.
    Inside containers it becomes one: torch refuses `betas=(0, 0.9)`.

    Example:
        >>> fit_value([256, 64], tuple[int, ...])
        (256, 64)

    Raises:
        AnnotationMismatch: if it does not fit.
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
        except AnnotationMismatch:
            continue
    raise AnnotationMismatch


def _fit_container(value: Any, origin: Any, args: tuple[Any, ...]) -> Any:
    if origin is type or origin is Callable or (isinstance(origin, type) and issubclass(origin, Callable)):  # type: ignore[arg-type]
        return _require(callable(value), value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _require(isinstance(value, Mapping), value)
        return {fit_value(k, args[0]): _fit_element(v, args[1]) for k, v in value.items()} if args else value
    if isinstance(origin, type) and issubclass(origin, tuple):
        _require(isinstance(value, (list, tuple)), value)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_fit_element(v, args[0]) for v in value)
        _require(len(value) == len(args), value)
        return tuple(_fit_element(v, a) for v, a in zip(value, args, strict=True))
    if isinstance(origin, type) and issubclass(origin, (Iterable, Collection, Sequence)):
        _require(isinstance(value, (list, tuple)), value)
        fitted = [_fit_element(v, args[0]) for v in value] if args else list(value)
        return set(fitted) if issubclass(origin, (set, frozenset)) else fitted
    return value


def _fit_element(value: Any, hint: Any) -> Any:
    fitted = fit_value(value, hint)
    return float(fitted) if hint is float else fitted


def _fit_class(value: Any, hint: Any) -> Any:
    if not isinstance(hint, type):
        return value
    if hint is float:
        return _require(isinstance(value, (int, float)) and not isinstance(value, bool), value)
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
        raise AnnotationMismatch
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
        raise AnnotationMismatch
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
    found: dict[str, inspect.Parameter] = {}
    for name, parameter in signature.parameters.items():
        hint = hints.get(name, parameter.annotation)
        if get_origin(hint) is Unpack:
            found |= {key: p for key, p in _unpacked(get_args(hint)[0]).items() if key not in found}
            continue
        found[name] = parameter.replace(annotation=Any if isinstance(hint, str) else hint)
    return found


def _unpacked(keys: Any) -> dict[str, inspect.Parameter]:
    """The keywords of `**how: Unpack[T]`, with the defaults of the constant that bears T's name in capitals."""
    defaults = getattr(sys.modules[keys.__module__], keys.__name__.upper(), {})
    unset = {key: inspect.Parameter.empty if key in keys.__required_keys__ else ... for key in keys.__annotations__}
    return {
        name: inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name, unset[name]), annotation=hint
        )
        for name, hint in get_type_hints(keys).items()
    }


def vars_of(cls: type) -> set[str]:
    """Names defined by a class or a parent other than `object`."""
    return {name for base in cls.__mro__ if base is not object for name in vars(base)}


def accepts_any(found: Mapping[str, inspect.Parameter]) -> bool:
    """True if a signature takes any keyword (`**kwargs`)."""
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in found.values())


MOVED = {"ppl_vae.conditionals": "ppl_vae.likelihoods", "ppl_vae.loggers": "ppl_vae.runs.loggers"}
"""Modules of targets as configs of saved runs name them, and as they are called now."""

PROGRAMS = ("model", "guide")


def later(where: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    """The argument that training gives: parameters to an optimizer, whatever it calls them, it to a scheduler."""
    first = next(iter(found), None)
    if first is not None and (where == "optimizer" or (where == "scheduler" and first == "optimizer")):
        return (first,)
    return ()


_HYDRA_KEYS = ("_target_", "_partial_", "_convert_", "_recursive_")


_UNSAFE = ("torch.load", "torch.hub", "torch.jit.load", "torch.package", "numpy.load", "joblib.load")


def with_present_names(saved: Any) -> Any:
    """A saved config in which every `_target_` whose module has moved since is named as it is now; a copy.

    Example:
        >>> with_present_names({"likelihood": {"_target_": "ppl_vae.conditionals.Normal", "value": 1.0}})
        {'likelihood': {'_target_': 'ppl_vae.likelihoods.Normal', 'value': 1.0}}
    """
    if isinstance(saved, Mapping):
        renamed = {key: with_present_names(value) for key, value in saved.items()}
        if isinstance(target := renamed.get("_target_"), str):
            module, _, name = target.rpartition(".")
            renamed["_target_"] = f"{MOVED.get(module, module)}.{name}"
        return renamed
    return [with_present_names(part) for part in saved] if isinstance(saved, list) else saved


def locate(path: Any, where: str) -> Any:
    """The object a `_target_` names, importing as needed; users' modules are looked for where they stand.

    Raises:
        UsageError: for a module or name that is not there, naming the near ones, and for what no config may call.
    """
    if not isinstance(path, str) or not all(part.isidentifier() for part in path.split(".")) or "." not in path:
        raise UsageError(f"{where}._target_: got {path!r}, expected the dotted name of a class or function")
    parts = path.split(".")
    if parts[0] in sys.stdlib_module_names or path.startswith(_UNSAFE):
        raise UsageError(f"{where}._target_: {path} may not be called from a config; name a class or function of yours")
    found: Any = _import(parts[0], where, path)
    for depth, part in enumerate(parts[1:], 1):
        if isinstance(found, ModuleType) and not hasattr(found, part):
            name = ".".join(parts[: depth + 1])
            try:
                found = importlib.import_module(name)
                continue
            except ModuleNotFoundError as error:
                if error.name != name:
                    raise
        if not hasattr(found, part):
            public = [n for n in dir(found) if not n.startswith("_") and callable(getattr(found, n, None))]
            raise UsageError(f"{where}._target_: {'.'.join(parts[:depth])} has no {part}; {near(part, public[:40])}")
        found = getattr(found, part)
    if not callable(found) or (getattr(found, "__module__", None) or "").split(".")[0] in _REFUSED_MODULES:
        raise UsageError(f"{where}._target_: {path} is no class or function that a config may name")
    return found


_REFUSED_MODULES = (
    "os",
    "posix",
    "subprocess",
    "shutil",
    "builtins",
    "importlib",
    "pickle",
    "runpy",
    "ctypes",
    "sys",
)


def _import(name: str, where: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        modules = sorted(p.stem for p in Path.cwd().glob("*.py"))
        hint = near(name, modules) if modules else "the working directory holds no Python file"
        raise UsageError(
            f"{where}._target_: no module {name!r} (for {path}) is installed or in {Path.cwd()}; {hint}"
        ) from None


def check(
    where: str,
    node: Mapping[str, Any],
    *,
    loose: frozenset[str] = frozenset(),
    given: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Hold a group's keys to the signature of its target, before anything is built or written.

    Args:
        where: the group, for messages.
        node: `_target_` and keys.
        loose: dotted names of keys that a file gave to another target: left out where this one does not name them.
        given: names that the target will receive besides.

    Returns:
        `_target_` and the keys that will be used.

    Raises:
        UsageError: for an unknown key, a value of the wrong type, a missing key.
    """
    target = locate(node["_target_"], where)
    found = parameters(target)
    program = where in PROGRAMS and not isinstance(target, type)
    used: dict[str, Any] = {k: node[k] for k in _HYDRA_KEYS if k in node and k != "_convert_"}
    for key, value in node.items():
        if key in _HYDRA_KEYS:
            continue
        name = f"{where}.{key}"
        if key not in found and not accepts_any(found):
            if name in loose:
                continue
            given_later = (*INJECTED, *later(where, found), *(n for n, p in found.items() if program and _needed(p)))
            legal = [n for n in found if n not in given_later]
            hint = near(str(key), legal) or "it takes none"
            raise UsageError(f"{name}: {node['_target_']} has no such parameter; {hint}")
        used[key] = check_value(name, value, found[key].annotation if key in found else Any, loose)
    for name, parameter in found.items():
        if _needed(parameter) and not program and name not in used and name not in (*given, *later(where, found)):
            hint = describe(parameter.annotation)
            raise UsageError(f"{where}.{name} is needed by {node['_target_']}: add {where}.{name}=VALUE ({hint})")
    return used


def _needed(parameter: inspect.Parameter) -> bool:
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return parameter.default is inspect.Parameter.empty and parameter.kind in by_name


def check_value(where: str, value: Any, hint: Any, loose: frozenset[str] = frozenset()) -> Any:
    """One value against its annotation; nested targets are checked in their turn."""
    if isinstance(value, Mapping) and "_target_" in value:
        return check(where, value, loose=loose)
    if isinstance(value, Mapping):
        value = {k: check_value(f"{where}.{k}", v, Any, loose) for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        value = [check_value(f"{where}.{i}", v, Any, loose) for i, v in enumerate(value)]
    if isinstance(value, float) and math.isnan(value):
        raise PplVaeError(f"{where}: got nan, expected {describe(hint) if hint is not Any else 'a number'}")
    try:
        fit_value(_stand_in(value), hint)
    except AnnotationMismatch:
        names = options(hint)
        also = f"; {near(value, names)}" if names and isinstance(value, str) else ""
        raise UsageError(f"{where}: got {value!r}, expected {describe(hint)}{also}") from None
    return value


def _stand_in(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Built() if "_target_" in value else {k: _stand_in(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_stand_in(v) for v in value]
    return value


def build(where: str, node: Mapping[str, Any], **given: Any) -> Any:
    """Build what a checked group stands for.

    Args:
        where: the group: `model` and `guide` make functions the program itself.
        node: from `check`.
        given: `spec`, `likelihood`, `model`, handed to targets that name them.
    """
    target = locate(node["_target_"], where)
    found = parameters(target)
    keys = {k: _built(f"{where}.{k}", v, found.get(k), given) for k, v in node.items() if k not in _HYDRA_KEYS}
    keys |= {name: value for name, value in given.items() if name in found and name not in keys}
    if where in PROGRAMS and not isinstance(target, type):
        return partial(target, **keys) if keys else target
    if node.get("_partial_") or later(where, found) or (where == "likelihood" and _is_likelihood(target, found)):
        return partial(target, **keys) if keys else target
    return target(**keys)


def _is_likelihood(target: Callable[..., Any], found: Mapping[str, Any]) -> bool:
    """A function of decoder parameters is a likelihood itself; one that names `spec` makes it."""
    return not isinstance(target, type) and "spec" not in found


def _built(where: str, value: Any, parameter: inspect.Parameter | None, given: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping) and "_target_" in value:
        return build(where, value, **given)
    if isinstance(value, Mapping):
        return {k: _built(f"{where}.{k}", v, None, given) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        value = [_built(f"{where}.{i}", v, None, given) for i, v in enumerate(value)]
    try:
        return fit_value(value, parameter.annotation) if parameter is not None else value
    except AnnotationMismatch:
        return value
