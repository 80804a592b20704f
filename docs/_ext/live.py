"""Run the Python blocks of a page when it is built, and show under each block what it printed and drew.

Every fenced block marked ``python`` runs, in order, in one namespace per page; ``pycon``, ``console`` and the others do
not. A block that raises fails the build. Figures left open by a block are saved as pictures; the first line of a
figure's ``set_label`` text, if any, is the picture's description.
"""

import ast
import contextlib
import io
import os
import tempfile
import traceback
from pathlib import Path
from typing import Any

os.environ.setdefault("MPLBACKEND", "Agg")

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)


def run(source: str, namespace: dict[str, Any], name: str) -> str:
    """Execute `source`; return what it printed, and the value of a last expression as a prompt would show it."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(tree, name, "exec"), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
            if value is not None:
                print(value)
    return printed.getvalue()


def runs(block: nodes.literal_block) -> bool:
    """Whether a block is a page's own code; signatures in the reference are not."""
    return block.get("language") == "python" and "signature" not in block.get("classes", [])


class Live(SphinxTransform):
    """Replace each block by itself followed by its results."""

    default_priority = 200  # before pictures are collected

    def apply(self, **kwargs: Any) -> None:
        """Run the page."""
        page = self.env.docname
        blocks = [node for node in self.document.findall(nodes.literal_block) if runs(node)]
        if not blocks:
            return
        self.env.note_reread()  # its results depend on the package too, not on its text alone
        import matplotlib.pyplot as plt
        import torch

        torch.manual_seed(0)
        namespace: dict[str, Any] = {"__name__": "__main__"}
        here = Path.cwd()
        with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
            stack.callback(plt.close, "all")
            os.chdir(directory)
            stack.callback(os.chdir, here)
            for number, block in enumerate(blocks):
                try:
                    text = run(block.astext(), namespace, f"{page}.md, line {block.line}")
                except Exception:
                    message = f"this block raised\n{traceback.format_exc(limit=-3)}"
                    logger.warning(
                        message, location=block
                    )  # an error: `make docs` is strict
                    break  # the blocks below would fail for lack of its names
                results = self.show(text) + self.pictures(page, number, plt)
                block.parent[
                    block.parent.index(block) + 1 : block.parent.index(block) + 1
                ] = results

    def show(self, text: str) -> list[nodes.Node]:
        """What was printed, as a block of its own."""
        if not text.strip():
            return []
        block = nodes.literal_block(
            text.rstrip("\n"), text.rstrip("\n"), language="text", classes=["live-output"]
        )
        return [nodes.container("", block, classes=["live"])]

    def pictures(self, page: str, number: int, plt: Any) -> list[nodes.Node]:
        """The open figures, saved beside the page and closed."""
        found: list[nodes.Node] = []
        folder = Path(self.env.srcdir) / "_run"
        folder.mkdir(exist_ok=True)
        for index, figure in enumerate(map(plt.figure, plt.get_fignums())):
            name = f"{page.replace('/', '-')}-{number}-{index}.png"
            figure.savefig(folder / name, dpi=144, bbox_inches="tight")
            label = str(figure.get_label())
            found.append(
                nodes.image(
                    uri=f"/_run/{name}", alt=label, width="100%", classes=["live-figure"]
                )
            )
        plt.close("all")
        return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform."""
    app.add_transform(Live)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
