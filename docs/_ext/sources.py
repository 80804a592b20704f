"""Where `sphinx.ext.viewcode` finds the source of an entry that it would not find by itself.

A public name leads to the module that defines it, a property to its function, what a class has of a parent without an
entry to that parent, and what is assigned, attributes of classes too, to its line.
"""

import ast
import functools
from collections.abc import Iterator

from public import entries, function, members, offered
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

Tags = dict[
    str, tuple[str, int, int]
]  # as Sphinx has them: a kind, the first line and the last


def follow(app: Sphinx, module: str, name: str) -> str | None:
    """The module whose source shows a name or a member of one."""
    first, _, rest = name.partition(".")
    entry = offered().get(f"{module}.{first}")
    if not entry:
        return None
    value = members(entry).get(rest)
    return function(value).__module__ if value else entry.home


def assigned(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Assignments of a module and of its classes, by name."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from assigned(node.body, f"{node.name}.")
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            if isinstance(target, ast.Name):
                yield prefix + target.id, node


@functools.cache
def tagged(module: str) -> tuple[str, Tags]:
    """The source of a module, and the lines of each name."""
    analyzer = ModuleAnalyzer.for_module(module)
    tags: Tags = dict(analyzer.find_tags())
    for name, node in assigned(ast.parse(analyzer.code).body):
        tags.setdefault(name, ("other", node.lineno, node.end_lineno or node.lineno))
    for entry in entries():
        for name, value in members(entry).items():
            path = function(value).__qualname__
            if function(value).__module__ == module and path in tags:
                tags.setdefault(f"{entry.name}.{name}", tags[path])
    return analyzer.code, tags


def setup(app: Sphinx) -> dict[str, bool]:
    """Answer what viewcode asks."""
    app.setup_extension("sphinx.ext.viewcode")
    app.connect("viewcode-follow-imported", follow)
    app.connect("viewcode-find-source", lambda app, module: tagged(module))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
