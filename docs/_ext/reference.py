"""The lists that the pages include, written from the package itself when the documentation is built.

Docstrings are Markdown with sections (Args, Raises, Example, References): the Markdown parser reads them.
"""

import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx

import ppl_vae
from ppl_vae.config.keys import GROUPS
from ppl_vae.config.schema import about, conf_dir, verbs

ROOT = Path(__file__).parents[2]
SECTION = re.compile(
    r"^(Args|Arguments|Attributes|Returns|Yields|Raises|Shapes?|Examples?|References?|Notes?):\s*$",
    re.MULTILINE,
)
ITEM = re.compile(r"^(\S[^:\n]*?):[ \n]+(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


def first_line(thing: Any) -> str:
    """The sentence that a docstring begins with."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def markdown(text: str) -> str:
    """A docstring as Markdown."""
    text = re.sub(r"\[(`[^`]+`)\]\[[^\]]+\]", r"\1", text)
    if not re.search(r"(?m)^Examples?:", text):  # an example may stand without a title
        text = re.sub(r"(?m)^(?=>>> )", "Example:\n", text, count=1)
    parts = SECTION.split(text)
    return "\n\n".join(
        [
            body(parts[0]),
            *(section(*pair) for pair in zip(parts[1::2], parts[2::2], strict=True)),
        ]
    )


def body(text: str) -> str:
    """Prose; examples inside it become code."""
    lines: list[str] = []
    inside = False
    for line in text.strip().splitlines():
        starts = line.lstrip().startswith(">>> ")
        if starts and not inside:
            lines += ["", "```pycon"]
            inside = True
        elif inside and not line.strip():
            lines.append("```")
            inside = False
        lines.append(line)
    return "\n".join([*lines, "```"] if inside else lines)


def section(title: str, text: str) -> str:
    """One section, under its title in bold."""
    text = textwrap.dedent(text.strip("\n")).rstrip()
    title = {"Args": "Arguments", "Example": "Example", "Shapes": "Shapes"}.get(
        title, title
    )
    if title.startswith("Example"):
        return f"```pycon\n{text}\n```"
    if title in ("Arguments", "Attributes", "Raises"):
        items = [(n, " ".join(t.split())) for n, t in ITEM.findall(text + "\n")]
        if items:
            return f"**{title}**\n\n" + "\n".join(
                f"- `{name.strip('`')}`: {text}" for name, text in items
            )
    if title.startswith("Reference"):
        text = re.sub(r"(https?://\S+?)([.,;]?)(?=\s|$)", r"<\1>\2", text)
        return f"**{title}**\n\n" + re.sub(r"(?m)^(?=\S)", "- ", text)
    return f"**{title}**\n\n{body(text)}"


def signature(name: str, thing: Any) -> str:
    """How it is called, an argument a line where one line is too short."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return name
    hidden = [
        p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()
    ]
    plain = [str(p) for p in hidden if p.name != "self"]
    for pattern, short in (
        (r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1"),
        (r"<function (\w+) at \w+>", r"\1"),
        (r"<.*>", "..."),
    ):
        plain = [re.sub(pattern, short, p) for p in plain]
    positional = [
        i for i, p in enumerate(hidden) if p.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    if positional and not any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in hidden):
        plain.insert(positional[0], "*")
    line = f"{name}({', '.join(plain)})"
    return (
        line
        if len(line) <= 96
        else f"{name}(\n" + "".join(f"    {p},\n" for p in plain) + ")"
    )


def entry(name: str, thing: Any) -> str:
    """One public name: its signature, its docstring, its public methods."""
    text = [
        f"### `{name}`",
        f"```{{code-block}} python\n:class: signature\n\n{signature(name, thing)}\n```"
        if callable(thing)
        else "",
    ]
    text.append(markdown(inspect.getdoc(thing) or ""))
    if inspect.isclass(thing):
        rows = [
            f"- `.{n}`: {first_line(member)}"
            for n, member in vars(thing).items()
            if not n.startswith("_")
            and n not in ("forward", "extra_repr")
            and first_line(member)
            if inspect.isfunction(member)
            or isinstance(member, (property, classmethod))
            or hasattr(member, "attrname")
        ]
        text += ["**Members**", "\n".join(rows)] if rows else []
    return "\n\n".join(part for part in text if part)


def names(module: ModuleType) -> list[str]:
    """What a module offers."""
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [
            n
            for n, v in vars(module).items()
            if not n.startswith("_") and not isinstance(v, ModuleType)
        ]
    return [n for n in listed if not n.startswith("_")]


def api() -> Iterator[str]:
    """All public names, those of the package first, then room by room."""
    found = {name: getattr(ppl_vae, name) for name in names(ppl_vae)}
    yield "## `ppl_vae`"
    for name, thing in found.items():
        if not isinstance(thing, ModuleType):
            yield entry(name, thing)
    for name, room in found.items():
        if isinstance(room, ModuleType):
            yield f"## `ppl_vae.{name}`"
            yield markdown(inspect.getdoc(room) or "")
            inside = {n: getattr(room, n) for n in names(room)}
            for n, thing in inside.items():
                if not isinstance(thing, ModuleType) and found.get(n) is not thing:
                    yield entry(f"{name}.{n}" if n in found else n, thing)


def table(rows: list[tuple[str, str]], head: tuple[str, str]) -> str:
    """Two columns."""
    lines = [f"| {head[0]} | {head[1]} |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {a} | {b} |" for a, b in rows)])


def groups() -> str:
    """Each group of configs with its options."""
    rows = []
    for folder in sorted(
        path for path in conf_dir().iterdir() if path.is_dir() and path.name != "hydra"
    ):
        options = sorted(path.stem for path in folder.glob("*.yaml"))
        if options:
            rows.append(
                (f"`{folder.name}`", ", ".join(f"`{option}`" for option in options))
            )
    order = {name: index for index, name in enumerate(GROUPS)}
    return table(
        sorted(rows, key=lambda row: order.get(row[0].strip("`"), 99)), ("group", "options")
    )


def classes(module: ModuleType) -> str:
    """The classes and functions of a room with their first sentences."""
    rows = [
        (f"`{n}`", first_line(getattr(module, n))) for n in names(module) if n[0].isupper()
    ]
    return table(rows, ("name", "what it does"))


def catalogue() -> str:
    """The programs that every test of the catalogue runs over."""
    sys.path.insert(0, str(ROOT))
    try:
        from tests.catalogue import CASES
    finally:
        sys.path.pop(0)
    groups: dict[str, list[tuple[str, str]]] = {}
    for case in CASES.values():
        rows = groups.setdefault(case.build.__module__.split(".")[-1].strip("_"), [])
        rows.append((case.name.replace("_", " "), first_line(case.build)))
    return "\n\n".join(
        f"## {name.capitalize()}\n\n{table(rows, ('program', 'note'))}"
        for name, rows in groups.items()
    )


def families() -> str:
    """What `python -m benchmarks.families` found on digits."""
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.families import table as rendered
    finally:
        sys.path.pop(0)
    path = ROOT / "benchmarks" / "results" / "families_digits.json"
    return rendered(json.loads(path.read_text(encoding="utf-8"))["results"])


def write(app: Sphinx) -> None:
    """Write the lists where the pages include them from."""
    folder = Path(app.srcdir) / "_run"
    folder.mkdir(exist_ok=True)
    lists = {
        "verbs": table(
            [
                (f"`{verb}`", about(conf_dir() / f"{verb}.yaml").replace("|", "\\|"))
                for verb in verbs()
            ],
            ("verb", "what it does"),
        ),
        "groups": groups(),
        "estimators": classes(ppl_vae.estimators),
        "objectives": classes(ppl_vae.objectives),
        "api": "\n\n".join(api()),
        "catalogue": catalogue(),
        "families": families(),
    }
    for name, text in lists.items():
        (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the lists before the pages are read."""
    app.connect("builder-inited", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
