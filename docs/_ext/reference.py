"""The lists that the pages include, and the reference, written from the package itself when the documentation is built."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import entries
from docstrings import cell, first_line
from docutils import nodes
from public import names, offered
from sphinx.application import Sphinx

import ppl_vae
from ppl_vae.config.keys import GROUPS
from ppl_vae.config.schema import about, conf_dir, verbs

ROOT = Path(__file__).parents[2]


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
    """The classes of a room, each with its first sentence, and led to its entry."""
    found = {
        n: offered()[f"{module.__name__}.{n}"] for n in names(module) if n[0].isupper()
    }
    rows = [
        (f"{{py:obj}}`{n} <{entry.full}>`", cell(first_line(entry.thing)))
        for n, entry in found.items()
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


def families(dataset: str) -> str:
    """What `python -m benchmarks.families` found on some data."""
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.families import table as rendered
    finally:
        sys.path.pop(0)
    path = ROOT / "benchmarks" / "results" / f"families_{dataset}.json"
    return rendered(json.loads(path.read_text(encoding="utf-8"))["results"])


def keep(folder: Path, texts: dict[str, str], kind: str = "md") -> None:
    """Write files that say something new, so that nothing else is read again."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        path = folder / f"{name}.{kind}"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def write(app: Sphinx) -> None:
    """Write the lists where the pages include them from, and the pages of the reference."""
    source = Path(app.srcdir)
    lists = {
        "verbs": table(
            [(f"`{verb}`", cell(about(conf_dir() / f"{verb}.yaml"))) for verb in verbs()],
            ("verb", "what it does"),
        ),
        "groups": groups(),
        "estimators": classes(ppl_vae.estimators),
        "objectives": classes(ppl_vae.objectives),
        "rooms": entries.overview(),
        "catalogue": catalogue(),
        "families": families("digits"),
        "families_fashion_mnist": families("fashion_mnist"),
    }
    keep(source / "_run", {name: f"{text}\n" for name, text in lists.items()})
    pages = entries.pages()
    for path in (source / "api").glob("*.md"):
        if path.stem not in pages:  # of a room that is no more
            path.unlink()
    keep(source / "api", pages)


def respell(app: Sphinx, document: nodes.document) -> None:
    """Let the other spellings of a page's names lead to them, too: `training.fit` is `fit`."""
    domain = app.env.get_domain("py")
    for spelling, entry in offered().items():
        found = domain.objects.get(entry.full)
        if spelling != entry.full and found and found.docname == app.env.docname:
            domain.note_object(spelling, found.objtype, found.node_id, aliased=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the lists before the pages are read."""
    app.connect("builder-inited", write)
    app.connect("doctree-read", respell)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
