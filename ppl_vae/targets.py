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
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from ppl_vae.config import near
from ppl_vae.errors import PplVaeError, UsageError
from ppl_vae.hints import Built, Misfit, accepts_any, describe, fit_value, options, parameters

PROGRAMS = ("model", "guide")
INJECTED = ("spec", "likelihood", "model")
LATER = ("params", "optimizer")  # what torch's optimizers and schedulers are given when training starts
_HYDRA_KEYS = ("_target_", "_partial_", "_convert_", "_recursive_")
_UNSAFE = ("torch.load", "torch.hub", "torch.jit.load", "torch.package", "numpy.load", "joblib.load")


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
    typed: frozenset[str] = frozenset(),
    old: frozenset[str] = frozenset(),
    given: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Hold a group's keys to the signature of its target, before anything is built or written.

    Args:
        where: the group, for messages.
        node: `_target_` and keys.
        typed: the keys the user typed.
        old: keys of the option whose `_target_` was replaced: dropped where the new target does not name them.
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
        if key not in found and not (accepts_any(found) and (key in typed or key not in old)):
            if key in old and key not in typed:
                continue
            given_later = (*INJECTED, *LATER, *(n for n, p in found.items() if program and _needed(p)))
            legal = [n for n in found if n not in given_later]
            hint = near(str(key), legal) or "it takes none"
            raise UsageError(f"{where}.{key}: {node['_target_']} has no such parameter; {hint}")
        used[key] = check_value(f"{where}.{key}", value, found[key].annotation if key in found else Any)
    for name, parameter in found.items():
        if _needed(parameter) and not program and name not in used and name not in (*given, *LATER):
            hint = describe(parameter.annotation)
            raise UsageError(f"{where}.{name} is needed by {node['_target_']}: add {where}.{name}=VALUE ({hint})")
    return used


def _needed(parameter: inspect.Parameter) -> bool:
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return parameter.default is inspect.Parameter.empty and parameter.kind in by_name


def check_value(where: str, value: Any, hint: Any) -> Any:
    """One value against its annotation; nested targets are checked in their turn."""
    if isinstance(value, Mapping) and "_target_" in value:
        return check(where, value)
    if isinstance(value, Mapping):
        value = {k: check_value(f"{where}.{k}", v, Any) for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        value = [check_value(f"{where}.{i}", v, Any) for i, v in enumerate(value)]
    if isinstance(value, float) and math.isnan(value):
        raise PplVaeError(f"{where}: got nan, expected {describe(hint) if hint is not Any else 'a number'}")
    try:
        fit_value(_stand_in(value), hint)
    except Misfit:
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
    first = next(iter(found), None)
    if node.get("_partial_") or first in LATER or (where == "likelihood" and _is_likelihood(target, found)):
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
    except Misfit:
        return value
