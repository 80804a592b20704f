"""From a dotted name to an object: the one door from names to code.

What is typed, and what runs of this machine say, may be anything of the user's. Of all others only what is listed may
be named (`listed`), and nothing is imported for it.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path
from types import ModuleType
from typing import Any

from ppl_vae.config import listed
from ppl_vae.config.schema import near
from ppl_vae.errors import UntrustedError, UsageError


def locate(path: Any, where: str, *, trusted: bool = False) -> Any:
    """The object that a `_target_` names.

    Args:
        path: a dotted name.
        where: the key that it is for, such as `model` or `objective.beta`.
        trusted: whoever names it may run code here: what is typed, and the runs that were made here. Then it may be
            anything that can be imported, in the working directory too, but for the standard library's own, where no
            part of a pair is. Otherwise it must be on the allow list, and nothing is imported for it, see `listed`.

    Raises:
        UsageError: for a module or name that is not there, naming the near ones, and for what may not be named.
    """
    if not isinstance(path, str) or not all(part.isidentifier() for part in path.split(".")) or "." not in path:
        raise UsageError(f"{where}._target_: got {path!r:.200}, expected the dotted name of a class or function")
    if not trusted:
        found = listed.find(path, where)
        if found is None:
            raise UntrustedError(f"{where}._target_: {path:.200} is not among what may be named without trust")
        return found
    parts = path.split(".")
    if parts[0] in sys.stdlib_module_names:
        raise UsageError(f"{where}._target_: {path} may not be called from a config; name a class or function of yours")
    found = _import(parts[0], where, path)
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
            hint = near(part, public[:40]) + _hidden(parts[0])
            raise UsageError(f"{where}._target_: {'.'.join(parts[:depth])} has no {part}; {hint}")
        found = getattr(found, part)
    if not callable(found) or _is_of_python(found):
        raise UsageError(f"{where}._target_: {path} is no class or function that a config may name")
    return found


def _is_of_python(found: Any) -> bool:
    """True for a class or function of the standard library, by whatever name it was found."""
    kinds = (type, types.FunctionType, types.BuiltinFunctionType)
    return isinstance(found, kinds) and (found.__module__ or "").partition(".")[0] in sys.stdlib_module_names


def _import(name: str, where: str, path: str) -> ModuleType:
    """A module that is installed, else one in the working directory, which is looked at for this and not before.

    From then on it is the last place that modules are looked for: those of the user's own may import others later.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
    here = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    sys.path[:] = [*(p for p in sys.path if p != here), here]
    importlib.invalidate_caches()
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


def _hidden(name: str) -> str:
    """A sentence where a module of the working directory bears the name of an installed one, which comes first."""
    own = next((p for p in (Path.cwd() / f"{name}.py", Path.cwd() / name) if p.exists()), None)
    file = getattr(sys.modules.get(name), "__file__", None)
    if own is None or (file is not None and Path(file).is_relative_to(Path.cwd())):
        return ""
    return f" ({own} is hidden by the installed {name}: give it another name)"
