"""Signatures as one reads them: short types, short defaults."""

import ast
import functools
import importlib
import inspect
import re
import types
import typing
from typing import Any

from public import entries, imported

UNIONS = (typing.Union, types.UnionType)
WIDE = 88  # of a type, where there is a shorter word for it


class _Word(str):
    """Text that a signature shows as it is, without quotes."""

    __repr__ = str.__str__


class _Scope(dict):
    """What the annotations of a module may name."""

    def __init__(self, module: str) -> None:
        super().__init__(vars(importlib.import_module(module)))
        self.module = module

    def __missing__(self, name: str) -> Any:
        if name not in (ways := imported(self.module)):
            raise KeyError(name)
        source, attribute = ways[name]
        module = importlib.import_module(source)
        return getattr(module, attribute) if attribute else module


def annotation(value: Any, module: str) -> str:
    """A type in the words of one who reads: last parts of names (`~`, by which Sphinx also finds the whole), `|`."""
    scope = _Scope(module)
    if isinstance(value, str):
        tree = ast.parse(value, mode="eval").body
        if isinstance(
            tree, ast.BinOp
        ):  # one by one, so that each may have a name of its own
            sides = (annotation(ast.unparse(s), module) for s in (tree.left, tree.right))
            return " | ".join(sides)
        try:
            value = eval(value, {}, scope)
        except Exception:  # said for type checkers alone
            return value
    text = _type(value, scope)
    short = re.sub(r"~[\w.]*\.", "", text)
    if len(short) > WIDE or re.search(r"\b_[a-zA-Z]", short):
        return next((n for n, v in scope.items() if v is value or v == value), text)
    return text


def _type(value: Any, scope: _Scope) -> str:
    inner = functools.partial(annotation, module=scope.module)
    if isinstance(value, list):
        return f"[{', '.join(map(inner, value))}]"
    if value in (None, type(None), ...):
        return "..." if value is ... else "None"
    for entry in entries():
        if entry.thing is value:
            return f"~{entry.full}"
    if isinstance(value, (str, typing.ForwardRef)):
        return str(getattr(value, "__forward_arg__", value))
    arguments = typing.get_args(value)
    origin = typing.get_origin(value)
    if origin is typing.Annotated:
        return inner(arguments[0])
    if origin is typing.Literal:
        return f"~typing.Literal[{', '.join(map(repr, arguments))}]"
    if origin in UNIONS:
        words = [inner(a) for a in arguments]
        for word, known in scope.items():  # a union that is part of it, and has a name
            parts = typing.get_args(known) if typing.get_origin(known) in UNIONS else ()
            if len(parts) > 1 and {*parts} < {*arguments}:
                words = [word, *(inner(a) for a in arguments if a not in parts)]
        return " | ".join(words)
    kind = origin or value
    where, name = getattr(kind, "__module__", ""), getattr(kind, "__qualname__", None)
    name = name or getattr(kind, "__name__", None) or str(kind)
    text = name if where in ("", "builtins") else f"~{where}.{name}"
    if where.startswith("numpy") or not arguments:
        return text
    return f"{text}[{', '.join(map(inner, arguments))}]"


def default(value: Any) -> str:
    """A default, by the name of a class or function, and as dots where it takes more than a few words."""
    text = re.sub(
        r"<class '(?:[\w.]*\.)?(\w+)'>|<function (\w+) at \w+>", r"\1\2", repr(value)
    )
    text = text.replace("functools.partial(", "partial(")
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return "..."
    return text if len(text) <= WIDE // 2 else "..."


def signature(thing: Any, module: str, *, bound: bool = False) -> str:
    """What stands in the parentheses, and what comes back; nothing where Python itself does not know."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    shown = []
    for parameter in list(found.parameters.values())[bound:]:
        if parameter.annotation is not inspect.Parameter.empty:
            text = annotation(parameter.annotation, module)
            parameter = parameter.replace(annotation=_Word(text))
        if parameter.default is not inspect.Parameter.empty:
            parameter = parameter.replace(default=_Word(default(parameter.default)))
        shown.append(parameter)
    back = found.return_annotation
    gives = (
        ""
        if inspect.isclass(thing) or back is found.empty
        else f" -> {annotation(back, module)}"
    )
    return str(found.replace(parameters=shown, return_annotation=found.empty)) + gives
