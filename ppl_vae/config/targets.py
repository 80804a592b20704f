"""From `_target_` and keys to objects: found, held to the target's signature, then built.

Hydra's own `instantiate` checks neither names nor types and refuses what Pyro's handlers return, so this is ours. It is
the one door from names to code: `locate` finds what is typed and what runs of this machine say, and of all others only
what is listed (`listed`); nothing is called before all of a group, whatever is nested in it, was found and checked.
A class is constructed with its keys. A function is, for models and guides, the Pyro program itself with its keys bound;
elsewhere it is called. Constructors that name `spec`, `likelihood`, `model` or a part (`prior`, `encoder`, `decoder`)
receive them; a part is a function of what they give it, with its keys bound.
"""

from __future__ import annotations

import inspect
import math
import sys
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, Unpack, get_args, get_origin, get_type_hints

from ppl_vae.config import listed
from ppl_vae.config.locate import locate
from ppl_vae.config.schema import near
from ppl_vae.config.signature import INJECTED, PARTS
from ppl_vae.errors import PplVaeError, UntrustedError, UsageError


class AnnotationMismatch(Exception):  # noqa: N818 - an answer, not a failure
    """The value does not fit the annotation."""


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
    if isinstance(value, Part) or hint in (Any, inspect.Parameter.empty, object) or isinstance(hint, (str, TypeVar)):
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

        dtype = vars(torch).get(value.removeprefix("torch."))  # its own `__getattr__` imports what is asked for
        return _require(isinstance(dtype, torch.dtype), dtype)
    if getattr(hint, "_is_protocol", False):
        return value if not isinstance(value, (str, int, float, list, dict)) else _require(False, value)
    return _require(isinstance(value, hint), value)


def _require(fits: bool, value: Any) -> Any:
    if not fits:
        raise AnnotationMismatch
    return value


def takes_function(parameter: inspect.Parameter) -> bool:
    """True for a parameter whose annotation a function fits."""
    try:
        fit_value(takes_function, parameter.annotation)
    except AnnotationMismatch:
        return False
    return True


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
    if get_origin(hint) in (Mapping, dict) and get_args(hint):
        return f"a mapping of names to {describe(get_args(hint)[1])}"
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


def unlisted(node: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """The targets in a part of a config that may not be named without trust, each with the key that it stands at."""
    if isinstance(node, Mapping):
        if "_target_" in node and listed.find(node["_target_"], where) is None:
            yield _shown(where), _shown(node["_target_"])
        for key, value in node.items():
            yield from unlisted(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, (list, tuple)):
        for number, value in enumerate(node):
            yield from unlisted(value, f"{where}.{number}")


def _shown(text: Any) -> str:
    """A stranger's text on one line, as it is only where all of it can be seen."""
    return f"{text:.200}" if isinstance(text, str) and text.isprintable() else f"{text!r:.200}"


PROGRAMS = ("model", "guide")


def later(where: str, target: Any, found: Mapping[str, Any]) -> tuple[str, ...]:
    """The argument that training gives: parameters to an optimizer, it to a scheduler, a row to a function called back.

    They are the first ones, whatever they are called.
    """
    first = next(iter(found), None)
    called_back = where.partition(".")[0] == "callbacks" and where.count(".") < 2 and not isinstance(target, type)
    if first is not None and (where == "optimizer" or (where == "scheduler" and first == "optimizer") or called_back):
        return (first,)
    return ()


_HYDRA_KEYS = ("_target_", "_partial_", "_convert_", "_recursive_")


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


@dataclass(frozen=True)
class Part:
    """A target that was found, with arguments that were held to its signature: all of it, before any of it is called.

    Attributes:
        where: the key that it stands at.
        name: its dotted name, as the config has it.
        target: what that is.
        keys: values by keyword, in which nested targets are parts in their turn.
        options: keys of the config that are none of the target's, such as `_partial_`.
    """

    where: str
    name: str
    target: Any
    keys: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters of the target."""
        return parameters(self.target)

    def plain(self) -> dict[str, Any]:
        """`_target_` and the keys that will be used, as a config holds them."""
        return {**self.options, **{key: _plain(value) for key, value in self.keys.items()}}

    def make(self, given: Mapping[str, Any]) -> Any:
        """The object that the part stands for; `given` goes to the targets that name it, at any depth."""
        found = self.parameters
        keys = {key: _made(value, found.get(key), given) for key, value in self.keys.items()}
        keys |= {name: value for name, value in given.items() if name in found and keys.get(name) is None}
        bound = partial(self.target, **keys) if keys else self.target
        if self.where in PROGRAMS and not isinstance(self.target, type):
            return bound
        if (
            self.where in PARTS
            or self.options.get("_partial_")
            or later(self.where, self.target, found)
            or self._is_likelihood(found)
        ):
            return bound
        return self.target(**keys)

    def _is_likelihood(self, found: Mapping[str, Any]) -> bool:
        """A function of decoder parameters is a likelihood itself; one that names `spec` makes it."""
        return self.where == "likelihood" and not isinstance(self.target, type) and "spec" not in found


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return value.plain()
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _made(value: Any, parameter: inspect.Parameter | None, given: Mapping[str, Any]) -> Any:
    if isinstance(value, Part):
        return value.make(given)
    if isinstance(value, Mapping):
        return {key: _made(v, None, given) for key, v in value.items()}
    if isinstance(value, list):
        value = [_made(v, None, given) for v in value]
    try:
        return fit_value(value, parameter.annotation) if parameter is not None else value
    except AnnotationMismatch:
        return value


def plan(
    where: str,
    node: Mapping[str, Any],
    *,
    loose: frozenset[str] = frozenset(),
    given: Collection[str] = (),
    trusted: bool = False,
) -> Part:
    """Find the target of a group and those nested in it, and hold all keys to their signatures; nothing is called.

    Args:
        where: the group, for messages.
        node: `_target_` and keys.
        loose: dotted names of keys that a file gave to another target: left out where this one does not name them.
        given: names that targets will receive besides.
        trusted: see `locate`.

    Raises:
        UsageError: for a target that may not be named, an unknown key, a value of the wrong type, a missing key.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UsageError(f"{where}: got {node!r:.200}, expected _target_ and its keys")
    target = locate(node["_target_"], where, trusted=trusted)
    found = {name: p for name, p in parameters(target).items() if p.kind in _BY_NAME}
    open_ended = accepts_any(parameters(target))
    program = where in PROGRAMS and not isinstance(target, type)
    used: dict[str, Any] = {}
    for key, value in node.items():
        if key in _HYDRA_KEYS:
            continue
        name = f"{where}.{key}"
        if key not in found and (not open_ended or not isinstance(key, str) or key.startswith("_")):
            if name in loose:
                continue
            given_later = (
                *INJECTED,
                *later(where, target, found),
                *(n for n, p in found.items() if program and _needed(p)),
            )
            legal = [n for n in found if n not in given_later]
            hint = near(str(key), legal) or "it takes none"
            raise UsageError(f"{name}: {node['_target_']} has no such parameter; {hint}")
        if not trusted and value is not None and is_path(key, found.get(key)):
            raise UntrustedError(f"{name}: {value!r:.200} is a place of files, which may not be named without trust")
        annotation = found[key].annotation if key in found else Any
        used[key] = _planned(name, value, annotation, loose=loose, given=given, trusted=trusted)
    for name, parameter in found.items():
        if (
            _needed(parameter)
            and not program
            and name not in used
            and name not in (*given, *later(where, target, found))
        ):
            if where in PARTS or node.get("_partial_"):
                continue
            hint = describe(parameter.annotation)
            raise UsageError(f"{where}.{name} is needed by {node['_target_']}: add {where}.{name}=VALUE ({hint})")
    return Part(where, node["_target_"], target, used, _options(where, node))


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _options(where: str, node: Mapping[str, Any]) -> dict[str, Any]:
    options = {key: node[key] for key in _HYDRA_KEYS if key in node and key != "_convert_"}
    for key, value in options.items():
        if key != "_target_" and not isinstance(value, bool):
            raise UsageError(f"{where}.{key}: got {value!r:.200}, expected true or false")
    return options


def _needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty and parameter.kind in _BY_NAME


def is_path(key: str, parameter: inspect.Parameter | None) -> bool:
    """True for a parameter that takes the place of files."""
    hint = "" if parameter is None else describe(parameter.annotation)
    return "Path" in hint or key in ("path", "root", "folder", "directory")


def _planned(where: str, value: Any, hint: Any, **how: Any) -> Any:
    """One value against its annotation; nested targets are planned in their turn."""
    if isinstance(value, Mapping) and "_target_" in value:
        return plan(where, value, **how)
    if isinstance(value, Mapping):
        value = {k: _planned(f"{where}.{k}", v, Any, **how) for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        value = [_planned(f"{where}.{i}", v, Any, **how) for i, v in enumerate(value)]
    if isinstance(value, float) and math.isnan(value):
        raise PplVaeError(f"{where}: got nan, expected {describe(hint) if hint is not Any else 'a number'}")
    try:
        fit_value(value, hint)
    except AnnotationMismatch:
        names = options(hint)
        also = f"; {near(value, names)}" if names and isinstance(value, str) else ""
        raise UsageError(f"{where}: got {_plain(value)!r:.400}, expected {describe(hint)}{also}") from None
    return value


def check(where: str, node: Mapping[str, Any], **how: Any) -> dict[str, Any]:
    """Hold a group's keys to the signature of its target, before anything is built or written; see `plan`.

    Returns:
        `_target_` and the keys that will be used.
    """
    return plan(where, node, **how).plain()


def build(where: str, node: Mapping[str, Any], *, trusted: bool = False, **given: Any) -> Any:
    """Build what a group stands for, once all of it is found and checked.

    Args:
        where: the group: `model` and `guide` make functions the program itself.
        node: `_target_` and keys.
        trusted: see `locate`.
        given: `spec`, `likelihood`, `model`, handed to targets that name them.
    """
    return plan(where, node, given=tuple(given), trusted=trusted).make(given)
