"""Parameters of a `_target_` of this package, read from its source: defaults, kinds and words, without importing it.

A config holds what differs from its target's signature; the rest is put beneath it from here (`additions`). Sources are
parsed, not run, so that `--help`, `--cfg job` and completion know every key and stay free of torch. What stands for the
source of a target is what a reader would look at: the function, the class's `__init__` or the nearest parent's, the
fields of a dataclass; for `**how: Unpack[T]` the keys of the TypedDict T, whose defaults are the constant of its name
in capitals.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from ppl_vae.config.layers import TARGET

PACKAGE = "ppl_vae"
ROOT = Path(__file__).resolve().parents[1]

INJECTED = ("spec", "likelihood", "model")
"""Parameters that the builder fills in, whatever their defaults."""

PARTS = ("prior", "encoder", "decoder")
"""Groups of their own whose option is given by name, as a function, to the model and the guide that take it."""


class Unknown(Enum):
    """A default that there is not, or that is no number, text, switch, None or list of these."""

    unknown = "unknown"


UNKNOWN = Unknown.unknown


@dataclass(frozen=True)
class Parameter:
    """One keyword of a target.

    Attributes:
        default: as a config holds it: a tuple is a list; `UNKNOWN` where no config can.
        choices: the texts that its annotation allows, if it names them.
        words: what the docstring says of it.
    """

    default: Any = UNKNOWN
    choices: tuple[str, ...] = ()
    words: str = ""


def is_ours(target: Any) -> bool:
    """True if a `_target_` names something of this package."""
    return isinstance(target, str) and target.startswith(f"{PACKAGE}.")


def additions(values: Mapping[str, Any], whole: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The defaults that a config leaves to the signatures of its targets, as a tree to be put beneath it.

    Args:
        values: a config, plain.
        whole: what it is a layer of, where it is one: keys that stand there are left out.

    Example:
        >>> additions({"scheduler": {"_target_": "ppl_vae.training.schedulers.cosine", "warmup": 9}})
        {'scheduler': {'_target_': 'ppl_vae.training.schedulers.cosine', 'floor': 0.0}}
    """
    whole = values if whole is None else whole
    pairs = {key: (value, whole.get(key)) for key, value in values.items()}
    nodes = {k: (v, w) for k, (v, w) in pairs.items() if isinstance(v, Mapping) and isinstance(w, Mapping)}
    added = {key: below for key, (value, over) in nodes.items() if (below := additions(value, over))}
    target: Any = values.get(TARGET)
    own = {k: v for k, v in defaults(target).items() if k not in whole} if is_ours(target) else {}
    return {TARGET: target, **own, **added} if own else added


def defaults(target: str) -> dict[str, Any]:
    """The keys of a target that a config can hold, with the signature's defaults."""
    found = parameters(target).items()
    own = ((k, p.default) for k, p in found if k not in INJECTED and not (k in PARTS and p.default is None))
    return {k: _copied(default) for k, default in own if default is not UNKNOWN}


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else dict(value) if isinstance(value, dict) else value


@cache
def parameters(target: str) -> dict[str, Parameter]:
    """The keywords of a target of this package in their order; none where it cannot be found.

    Example:
        >>> parameters("ppl_vae.training.schedulers.warmup")
        {'steps': Parameter(default=500, choices=(), words='length of the start.')}
    """
    found = _find(target)
    if found is None:
        return {}
    module, node = found
    if isinstance(node, ast.ClassDef):
        return _of_class(module, node)
    return _of_function(module, node) if isinstance(node, ast.FunctionDef) else {}


def arguments(docstring: str) -> dict[str, str]:
    r"""The words of the part `Args:` (or `Attributes:`) of a docstring by name, on one line and without markup.

    Example:
        >>> arguments("Draws.\n\nArgs:\n    n: how many,\n        at least 1.\n    a, b: ends.\n\nRaises:\n    E: no.")
        {'n': 'how many, at least 1.', 'a': 'ends.', 'b': 'ends.'}
    """
    said: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line in inspect.cleandoc(docstring).splitlines():
        if line and not line[0].isspace():
            inside, names = line in ("Args:", "Attributes:"), []
        elif inside and (entry := re.match(r" {4}([*\w]+(?:, [*\w]+)*)(?: \(.*?\))?: *(.*)", line)):
            names = [name.lstrip("*") for name in entry[1].split(", ")]
            said |= dict.fromkeys(names, entry[2])
        elif inside and line.strip():
            said |= {name: f"{said[name]} {line.strip()}".strip() for name in names}
    return {name: re.sub(r"\[(.+?)\]\[.*?\]|`+", r"\1", text) for name, text in said.items()}


@dataclass(frozen=True)
class _Module:
    """The names that a source file defines or imports at its top level."""

    names: dict[str, ast.stmt]
    values: dict[str, ast.expr]


@cache
def _module(path: Path) -> _Module:
    names: dict[str, ast.stmt] = {}
    values: dict[str, ast.expr] = {}
    for statement in _top_level(ast.parse(path.read_bytes()).body):
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
            names[statement.name] = statement
        elif isinstance(statement, ast.ImportFrom):
            names |= {alias.asname or alias.name: statement for alias in statement.names}
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            values |= {t.id: statement.value for t in targets if isinstance(t, ast.Name)}
    return _Module(names, values)


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield from _top_level(statement.body) if isinstance(statement, ast.If) else (statement,)


def _file(name: str) -> Path | None:
    """The source of a module of this package, by its dotted name."""
    base = ROOT.joinpath(*name.split(".")[1:])
    return next((p for p in (base / "__init__.py", base.with_suffix(".py")) if p.is_file()), None)


def _find(target: str) -> tuple[_Module, ast.AST] | None:
    """The object that a dotted name stands for, however many packages it is imported through."""
    name, _, last = target.rpartition(".")
    path = _file(name) if is_ours(target) or name == PACKAGE else None
    return _look_up(_module(path), last) if path else None


def _look_up(module: _Module, name: str) -> tuple[_Module, ast.AST] | None:
    node = module.names.get(name)
    if isinstance(node, ast.ImportFrom):
        original = next(a.name for a in node.names if name == (a.asname or a.name))
        return None if node.level else _find(f"{node.module}.{original}")
    value = node or module.values.get(name)
    if isinstance(value, ast.Name) and value.id != name:
        return _look_up(module, value.id)
    return (module, value) if value is not None else None


def _docstring(node: ast.AST) -> str:
    return ast.get_docstring(node, clean=False) or "" if isinstance(node, (ast.ClassDef, ast.FunctionDef)) else ""


def _parents(module: _Module, node: ast.ClassDef) -> list[tuple[_Module, ast.ClassDef]]:
    found = (_look_up(module, base.id) for base in node.bases if isinstance(base, ast.Name))
    return [(home, parent) for home, parent in filter(None, found) if isinstance(parent, ast.ClassDef)]


def _of_class(module: _Module, node: ast.ClassDef) -> dict[str, Parameter]:
    """The parameters of a class: of its constructor, its fields, or its first parent that has some."""
    inherited = {k: v for home, parent in reversed(_parents(module, node)) for k, v in _of_class(home, parent).items()}
    init = next((s for s in node.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"), None)
    if init is not None:
        own = _of_function(module, init, skip=1)
    elif any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        own = inherited | {name: _field(module, s) for name, s in _fields(node)}
    else:
        own = inherited
    said = arguments(_docstring(node))
    words = {name: said.get(name) or p.words or getattr(inherited.get(name), "words", "") for name, p in own.items()}
    return {name: replace(parameter, words=words[name]) for name, parameter in own.items()}


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.AnnAssign]]:
    annotated = (s for s in node.body if isinstance(s, ast.AnnAssign))
    for statement in annotated:
        if isinstance(statement.target, ast.Name) and "ClassVar" not in ast.unparse(statement.annotation):
            yield statement.target.id, statement


def _field(module: _Module, statement: ast.AnnAssign) -> Parameter:
    value = statement.value
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field"):
        options = {option.arg: option.value for option in value.keywords}
        empty: dict[str, Any] = {"list": [], "dict": {}, "tuple": []}
        made = empty.get(ast.unparse(options.get("default_factory", value)), UNKNOWN)
        default = _literal(module, options["default"]) if "default" in options else made
    else:
        default = UNKNOWN if value is None else _literal(module, value)
    return Parameter(default, _choices(module, statement.annotation))


def _of_function(module: _Module, node: ast.FunctionDef, skip: int = 0) -> dict[str, Parameter]:
    positional = [*node.args.posonlyargs, *node.args.args]
    missing = [None] * (len(positional) - len(node.args.defaults))
    pairs = [*zip(positional, [*missing, *node.args.defaults], strict=True)][skip:]
    pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    said = arguments(_docstring(node))
    found = {
        argument.arg: Parameter(
            UNKNOWN if value is None else _literal(module, value),
            _choices(module, argument.annotation),
            said.get(argument.arg, ""),
        )
        for argument, value in pairs
    }
    rest = {name: p for name, p in _unpacked(module, node.args.kwarg).items() if name not in found}
    return found | {name: replace(p, words=said.get(name) or p.words) for name, p in rest.items()}


def _unpacked(module: _Module, rest: ast.arg | None) -> dict[str, Parameter]:
    """The keywords of `**how: Unpack[T]`."""
    annotation = _unquoted(rest.annotation) if rest is not None else None
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).endswith("Unpack"):
        found = _look_up(module, ast.unparse(annotation.slice))
        if found is not None and isinstance(found[1], ast.ClassDef):
            return _of_typed_dict(found[0], found[1])
    return {}


def _of_typed_dict(module: _Module, node: ast.ClassDef) -> dict[str, Parameter]:
    inherited = {k: v for home, parent in _parents(module, node) for k, v in _of_typed_dict(home, parent).items()}
    constant = module.values.get(node.name.upper())
    held = UNKNOWN if constant is None else _literal(module, constant)
    values = held if isinstance(held, dict) else {}
    said = arguments(_docstring(node))
    own = {name: Parameter(choices=_choices(module, s.annotation)) for name, s in _fields(node)}
    return {
        name: Parameter(values.get(name, p.default), p.choices, said.get(name) or p.words)
        for name, p in (inherited | own).items()
    }


def _literal(module: _Module, node: ast.AST) -> Any:
    """The value of an expression of literals and of names of such, as a config holds it; else `UNKNOWN`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str, type(None))):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(module, node.operand)
        return -value if isinstance(value, (int, float)) else UNKNOWN
    if isinstance(node, (ast.Tuple, ast.List)):
        values = [_literal(module, element) for element in node.elts]
        return UNKNOWN if UNKNOWN in values else values
    if isinstance(node, ast.Dict):
        return _literal_dict(module, node)
    if isinstance(node, ast.Name) and (found := _look_up(module, node.id)) is not None:
        return _literal(*found)
    return UNKNOWN


def _literal_dict(module: _Module, node: ast.Dict) -> Any:
    values: dict[str, Any] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        held = _literal(module, value)
        if key is not None:
            values[_literal(module, key)] = held
        elif isinstance(held, dict):
            values |= held
    return values


def _choices(module: _Module, annotation: ast.AST | None) -> tuple[str, ...]:
    """The texts that an annotation allows, its aliases followed: those of every `Literal` in it."""
    annotation = _unquoted(annotation)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).endswith("Literal"):
        options = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return tuple(str(option.value) for option in options if isinstance(option, ast.Constant))
    if isinstance(annotation, ast.BinOp):
        return _choices(module, annotation.left) + _choices(module, annotation.right)
    if isinstance(annotation, ast.Name) and (found := _look_up(module, annotation.id)) is not None:
        return _choices(*found) if not isinstance(found[1], ast.stmt) else ()
    return ()


def _unquoted(annotation: ast.AST | None) -> ast.AST | None:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation
