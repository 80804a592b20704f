"""What is public: the names in the package's `__all__` and in those of its rooms, each with one entry.

What the package and a room both offer has its entry under the shorter name.
"""

import ast
import functools
import importlib
import inspect
import itertools
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import ppl_vae

PACKAGE = ppl_vae.__name__
CALLED_BY_TORCH = ("forward", "extra_repr")  # a module is called; nobody calls these
PROPERTIES = (property, functools.cached_property)


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

    @property
    def defined(self) -> str:
        """Where it is defined, as Python itself and other projects' documentation call it."""
        return f"{self.home}.{self.name}"


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
    for node, after in itertools.pairwise(body):
        given = [getattr(target, "id", None) for target in getattr(node, "targets", [])]
        if entry.name in given and isinstance(after, ast.Expr):
            return inspect.cleandoc(ast.literal_eval(after.value))
    return ""


@functools.cache
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
            is_member = inspect.isroutine(value) or isinstance(value, PROPERTIES)
            hidden = name.startswith("_") or name in CALLED_BY_TORCH or name in found
            if is_member and not hidden and value.__doc__:
                found[name] = value
    return found


def function(member: Any) -> Any:
    """The function behind a method or property."""
    inside = (getattr(member, part, None) for part in ("__func__", "func", "fget"))
    return inspect.unwrap(next(filter(None, inside), member))
