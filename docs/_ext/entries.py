"""The public names as objects of Sphinx's Python domain, written in Markdown: one directive each, its docstring inside.

Nothing here needs Sphinx. A name is public if the package's `__all__` or that of one of its rooms holds it; what both
hold has its entry under the shorter name.
"""

import ast
import functools
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import docstrings

import ppl_vae

PACKAGE = ppl_vae.__name__
CALLED_BY_TORCH = ("forward", "extra_repr")  # a module is called; nobody calls these
WIDE = 88  # of a type or a default in a signature, where there is a shorter word for it


class Entry(NamedTuple):
    """A public name: where it stands, what it is, and the module that defines it."""

    room: str
    name: str
    thing: Any
    home: str

    @property
    def full(self) -> str:
        """What a user writes after `import`."""
        return f"{self.room}.{self.name}"


def names(module: ModuleType) -> list[str]:
    """What a module offers: its `__all__`, or else what was defined in it or in a part of it."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and f"{getattr(value, '__module__', None)}.".startswith(f"{module.__name__}.")
    ]


@functools.cache
def imported(module: str) -> dict[str, tuple[str, str]]:
    """Where the names come from that a module imports, also those it imports for type checkers alone."""
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(module)))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {a.asname or a.name: (node.module, a.name) for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.asname: (a.name, "") for a in node.names if a.asname}
    return found


def home(module: str, name: str) -> str:
    """The module that gives a name its value; those on the way to it import it only."""
    while name in (ways := imported(module)) and ways[name][0].startswith(PACKAGE):
        module, name = ways[name]
    return module


@functools.cache
def rooms() -> dict[str, ModuleType]:
    """The package and its public modules, and theirs, by full name; a module after the one that offers it."""
    found = {PACKAGE: ppl_vae}
    for path, module in ((PACKAGE, ppl_vae), *public_modules(PACKAGE, ppl_vae)):
        found[path] = module
    return found


def public_modules(path: str, module: ModuleType) -> Iterator[tuple[str, ModuleType]]:
    """The modules that a module offers, each followed by those that it offers itself."""
    for name in names(module):
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            yield f"{path}.{name}", value
            yield from public_modules(f"{path}.{name}", value)


@functools.cache
def offered() -> dict[str, Entry]:
    """Each public spelling with its entry; two spellings of one thing have one entry."""
    found: dict[str, Entry] = {}
    for room, module in rooms().items():
        for name in names(module):
            thing = getattr(module, name)
            if isinstance(thing, ModuleType):
                continue
            same = (e for e in found.values() if e.thing is thing and e.name == name)
            where = getattr(thing, "__module__", None)
            if not (inspect.isclass(thing) or inspect.isroutine(thing)):
                where = home(module.__name__, name)
            found[f"{room}.{name}"] = next(same, None) or Entry(room, name, thing, where)
    return found


@functools.cache
def entries() -> list[Entry]:
    """All entries of the reference, once each."""
    return list(dict.fromkeys(offered().values()))


def docstring(entry: Entry) -> str:
    """What a name says of itself; what is neither a class nor a function, in the string below its assignment."""
    if inspect.isclass(entry.thing) or inspect.isroutine(entry.thing):
        return inspect.getdoc(entry.thing) or ""
    body = ast.parse(inspect.getsource(importlib.import_module(entry.home))).body
    for node, after in zip(body, body[1:], strict=False):
        if entry.name in [
            getattr(target, "id", None) for target in getattr(node, "targets", [])
        ]:
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                return inspect.cleandoc(after.value.value)
    return ""


def members(entry: Entry) -> dict[str, Any]:
    """The public methods and properties of a class that say what they do, also those of its parents without an entry."""
    if not inspect.isclass(entry.thing):
        return {}
    known = [e.thing for e in entries() if e.thing is not entry.thing]
    found: dict[str, Any] = {}
    for parent in inspect.getmro(entry.thing):
        if parent in known or not parent.__module__.startswith(f"{PACKAGE}."):
            continue
        for name, value in vars(parent).items():
            hidden = name.startswith("_") or name in CALLED_BY_TORCH
            if not hidden and name not in found and getattr(value, "__doc__", None):
                if (
                    inspect.isroutine(value)
                    or hasattr(value, "attrname")
                    or isinstance(value, property)
                ):
                    found[name] = value
    return found


# --- signatures -----------------------------------------------------------------------------------------------------


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
        try:
            value = eval(value, {}, scope)
        except Exception:  # said for type checkers alone
            return value
    text = _type(value, module)
    if len(text.replace("~", "")) > WIDE:
        return next((n for n, v in scope.items() if v is value or v == value), text)
    return text


def _type(value: Any, module: str) -> str:
    inner = functools.partial(annotation, module=module)
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
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(inner, arguments))
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


# --- links ----------------------------------------------------------------------------------------------------------


@functools.cache
def targets() -> dict[str, str]:
    """Whatever names one public thing, with its full name: any part of its path from the right that no other has."""
    full = {path: entry.full for path, entry in offered().items()}
    full |= {f"{e.home}.{e.name}": e.full for e in entries()}
    full |= {
        f"{e.full}.{name}": f"{e.full}.{name}" for e in entries() for name in members(e)
    }
    full |= {path: path for path in rooms()}
    short: dict[str, set[str]] = {}
    for path, target in full.items():
        parts = path.split(".")
        least = (
            1 if target in {e.full for e in entries()} else 2
        )  # `sum` is no method, `ELBO` is a class
        for start in range(1, len(parts) - least + 1):
            short.setdefault(".".join(parts[start:]), set()).add(target)
    return {name: found.pop() for name, found in short.items() if len(found) == 1} | full


def link(text: str, own: typing.Collection[str] = ()) -> str:
    """Markdown whose code spans that name one public thing lead to it; `own` names, of arguments say, do not."""

    def linked(found: re.Match[str]) -> str:
        name = found[2].removesuffix("()")
        target = targets().get(re.sub(r"^pv\.", f"{PACKAGE}.", name))
        return (
            f"{{py:obj}}`{found[2]} <{target}>`" if target and name not in own else found[0]
        )

    return re.sub(r"(?<![`}\w])(`)([A-Za-z_][\w.]*(?:\(\))?)`(?!`)", linked, text)


# --- directives -----------------------------------------------------------------------------------------------------


def directive(
    kind: str, head: str, options: dict[str, Any], body: str, depth: int = 3
) -> str:
    """A directive of the Python domain; the more colons, the further out."""
    lines = [
        f":{key}: {value}".rstrip() for key, value in options.items() if value is not None
    ]
    return "\n".join([f"{':' * depth}{{py:{kind}}} {head}", *lines, "", body, ":" * depth])


def member(name: str, value: Any, module: str, own: typing.Collection[str]) -> str:
    """A method or property of a class."""
    options: dict[str, Any] = {}
    function = (
        getattr(value, "__func__", None)
        or getattr(value, "func", None)
        or getattr(value, "fget", None)
    )
    if getattr(function or value, "__isabstractmethod__", False):
        options["abstractmethod"] = ""
    own = {*own, *(inspect.signature(function or value).parameters)}
    body = docstrings.markdown(
        inspect.getdoc(value) or "", functools.partial(link, own=own)
    )
    if isinstance(value, property) or hasattr(value, "attrname"):
        back = inspect.signature(function).return_annotation
        options["type"] = (
            None if back is inspect.Signature.empty else annotation(back, module)
        )
        return directive("property", name, options, body)
    if isinstance(value, (classmethod, staticmethod)):
        options[type(value).__name__] = ""
    call = signature(function or value, module, bound=not isinstance(value, staticmethod))
    return directive("method", f"{name}{call}", options, body)


def attributes(
    entry: Entry, found: dict[str, str], change: Callable[[str], str]
) -> Iterator[str]:
    """The attributes that a class describes in a section of its docstring."""
    hints = {
        k: v
        for c in reversed(inspect.getmro(entry.thing))
        for k, v in vars(c).get("__annotations__", {}).items()
    }
    for name, text in found.items():
        kind = annotation(hints[name], entry.home) if name in hints else None
        yield directive("attribute", name, {"type": kind}, change(text))


def write(entry: Entry) -> str:
    """The entry of a public name: how it is called, what it says, its members."""
    text, thing = docstring(entry), entry.thing
    options = {"module": entry.room}
    if f"{entry.home}.{entry.name}" != entry.full:
        options["canonical"] = f"{entry.home}.{entry.name}"
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        value = repr(thing).replace("typing.", "")
        return directive(
            "data", entry.name, options | {"value": value}, docstrings.markdown(text, link)
        )
    call = signature(thing, entry.home)
    own = set(re.findall(r"(\w+)[:=,)]", call)) | set(docstrings.items(text, "Args"))
    if inspect.isroutine(thing):
        body = docstrings.markdown(text, functools.partial(link, own=own))
        return directive("function", entry.name + call, options, body)
    described = docstrings.items(text, "Attributes")
    own |= set(described)
    change = functools.partial(link, own=own)
    inside = members(entry)
    rest = {name: words for name, words in described.items() if name not in inside}
    parts = [
        docstrings.markdown(text, change, leave=("Attributes",)),
        *attributes(entry, rest, change),
        *(member(name, value, entry.home, own) for name, value in inside.items()),
    ]
    kind = "exception" if issubclass(thing, BaseException) else "class"
    return directive(kind, entry.name + call, options, "\n\n".join(parts), depth=4)


def page(path: str, module: ModuleType, level: int = 1) -> str:
    """A room: what it is, its names in a table, an entry each, then its own public modules."""
    title = f"{'#' * level} `{path}`"
    mark = directive("module", path, {}, "")
    rows = [
        (e, spelling)
        for spelling, e in offered().items()
        if spelling.rpartition(".")[0] == path
    ]
    lines = [
        f"| {{py:obj}}`{e.name} <{e.full}>` | {docstrings.cell(docstrings.first(docstring(e)))} |"
        for e, _ in rows
    ]
    table = "\n".join(["| name | what it is |", "| --- | --- |", *lines])
    about = docstrings.markdown(inspect.getdoc(module) or "", link)
    parts = [
        title,
        mark,
        about,
        table,
        *(write(e) for e, spelling in rows if e.full == spelling),
    ]
    if level > 1 or path != PACKAGE:
        for inner, value in rooms().items():
            if inner.rpartition(".")[0] == path:
                parts.append(page(inner, value, level + 1))
    return "\n\n".join(parts)


def pages() -> dict[str, str]:
    """The pages of the reference by the names of their files: the package, and one a room."""
    return {
        path.removeprefix(f"{PACKAGE}."): page(path, module) + "\n"
        for path, module in rooms().items()
        if path.count(".") <= 1
    }


def overview() -> str:
    """The rooms, and what each holds."""
    lines = []
    for path, module in rooms().items():
        if path.count(".") <= 1:
            file = path.removeprefix(f"{PACKAGE}.")
            about = link(docstrings.cell(docstrings.first(inspect.getdoc(module) or "")))
            lines.append(f"| [`{path}`](/api/{file}.md) | {about} |")
    return "\n".join(["| room | what it holds |", "| --- | --- |", *lines])
