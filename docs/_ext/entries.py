"""The reference in Markdown: a page a room, a directive of Sphinx's Python domain a name, its docstring inside."""

import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterator
from types import ModuleType
from typing import Any

import docstrings
from public import (
    PACKAGE,
    PROPERTIES,
    Entry,
    docstring,
    entries,
    function,
    members,
    offered,
    rooms,
)
from signatures import annotation, signature


@functools.cache
def targets() -> dict[str, str]:
    """Whatever names one public thing, with its full name: any part of its path from the right that no other has."""
    full = {path: entry.full for path, entry in offered().items()}
    full |= {e.defined: e.full for e in entries()}
    for entry in entries():
        described = docstrings.items(docstring(entry), "Attributes")
        inside = [f"{entry.full}.{name}" for name in (*members(entry), *described)]
        full |= dict(zip(inside, inside, strict=True))
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


def link(text: str, room: str = PACKAGE, own: Collection[str] = ()) -> str:
    """Markdown whose code spans that name one public thing lead to it.

    A word in small letters may name a column or a choice as well: by itself it leads to what stands in `room` or in the
    package alone. `own` names, of arguments say, lead nowhere, and neither does what stands between two backticks.
    """

    def linked(found: re.Match[str]) -> str:
        words, place = found[1] or found[3], found[2]
        name = re.sub(r"^pv\.", f"{PACKAGE}.", words.removesuffix("()"))
        target = targets().get(place or name)
        near = target and target.rpartition(".")[0] in (room, PACKAGE)
        if (
            not target
            or name in own
            or not (place or near or "." in name or name[0].isupper())
        ):
            return f"`{words}`"
        return f"{{py:obj}}`{words} <{target}>`"

    name = r"`([A-Za-z_][\w.]*(?:\(\))?)`"
    return re.sub(rf"\[{name}\]\[([\w.]+)\]|(?<![`}}\w]){name}(?!`)", linked, text)


def directive(
    kind: str, head: str, options: dict[str, Any], body: str, depth: int = 3
) -> str:
    """A directive of the Python domain; the more colons, the further out."""
    given = {key: value for key, value in options.items() if value is not None}
    lines = [f":{key}: {value}".rstrip() for key, value in given.items()]
    return "\n".join([f"{':' * depth}{{py:{kind}}} {head}", *lines, "", body, ":" * depth])


def member(name: str, value: Any, entry: Entry, own: Collection[str]) -> str:
    """A method or property of a class."""
    options: dict[str, Any] = {}
    behind = function(value)
    if getattr(behind, "__isabstractmethod__", False):
        options["abstractmethod"] = ""
    own = {*own, *inspect.signature(behind).parameters}
    change = functools.partial(link, room=entry.room, own=own)
    body = docstrings.markdown(inspect.getdoc(value) or "", change)
    if isinstance(value, PROPERTIES):
        back = inspect.signature(behind).return_annotation
        known = back is not inspect.Signature.empty
        options["type"] = annotation(back, behind.__module__) if known else None
        return directive("property", name, options, body)
    if isinstance(value, (classmethod, staticmethod)):
        options[type(value).__name__] = ""
    bound = not isinstance(value, staticmethod)
    call = signature(behind, behind.__module__, bound=bound)
    return directive("method", f"{name}{call}", options, body)


def attributes(
    thing: type, described: dict[str, str], change: Callable[[str], str]
) -> Iterator[str]:
    """The attributes that a class describes in a section of its docstring."""
    kinds = {
        name: annotation(kind, parent.__module__)
        for parent in reversed(inspect.getmro(thing))
        for name, kind in vars(parent).get("__annotations__", {}).items()
        if name in described
    }
    for name, text in described.items():
        yield directive("attribute", name, {"type": kinds.get(name)}, change(text))


def write(entry: Entry) -> str:
    """The entry of a public name: how it is called, what it says, its members."""
    text, thing = docstring(entry), entry.thing
    options = {"module": entry.room}
    if entry.defined != entry.full:
        options["canonical"] = entry.defined
    described = docstrings.items(text, "Attributes")
    own = {entry.name, *docstrings.items(text, "Args"), *described}
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        options["value"] = repr(thing).replace("typing.", "")
        body = docstrings.markdown(text, functools.partial(link, room=entry.room, own=own))
        return directive("data", entry.name, options, body)
    call = signature(thing, entry.home)
    own |= set(inspect.signature(thing).parameters) if call else set()
    change = functools.partial(link, room=entry.room, own=own)
    if inspect.isroutine(thing):
        body = docstrings.markdown(text, change)
        return directive("function", entry.name + call, options, body)
    inside = members(entry)
    rest = {name: words for name, words in described.items() if name not in inside}
    parts = [
        docstrings.markdown(text, change, leave=("Attributes",)),
        *attributes(thing, rest, change),
        *(member(name, value, entry, own) for name, value in inside.items()),
    ]
    kind = "exception" if issubclass(thing, BaseException) else "class"
    return directive(kind, entry.name + call, options, "\n\n".join(parts), depth=4)


def table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    """Names, each with what it is, in a table that narrow pages know by its class."""
    lines = [f"| {name} | {docstrings.cell(text)} |" for name, text in [head, *rows]]
    lines.insert(1, "| --- | --- |")
    return "\n".join([":::{table}", ":class: names", "", *lines, ":::"])


def page(path: str, module: ModuleType, level: int = 1) -> str:
    """A room: what it is, its names in a table, an entry each, then its own public modules."""
    held = {s: e for s, e in offered().items() if s.rpartition(".")[0] == path}
    rows = [
        (
            f"{{py:obj}}`{e.name} <{e.full}>`",
            link(docstrings.first(docstring(e)), path, [e.name]),
        )
        for e in held.values()
    ]
    about = inspect.getdoc(module) or ""
    parts = [
        f"{'#' * level} `{path}`",
        directive("module", path, {}, ""),
        docstrings.markdown(about, functools.partial(link, room=path)),
        table(("name", "what it is"), rows),
        *(write(entry) for spelling, entry in held.items() if entry.full == spelling),
    ]
    inner = {} if path == PACKAGE else rooms()
    parts += [
        page(p, m, level + 1) for p, m in inner.items() if p.rpartition(".")[0] == path
    ]
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
    rows = [
        (
            f"[`{path}`](/api/{path.removeprefix(f'{PACKAGE}.')}.md)",
            link(docstrings.first_line(module), room=path),
        )
        for path, module in rooms().items()
        if path.count(".") <= 1
    ]
    return table(("room", "what it holds"), rows)
