"""Run the blocks of a page when it is built, and show under each block what it printed and drew.

Every fenced block marked ``python`` runs, in order, in one namespace per page, and every one marked ``console`` in a
shell, all in one empty directory per page; see ``blocks`` for files and for what is left out. A block that raises, or a
command that fails, fails the build. Figures left open by a block are saved as pictures, and so is one that its last line
gives, as `ppl_vae.plots` does. A picture's description is the name of its figure (``plt.figure("…")``), or its titles.
"""

import ast
import contextlib
import io
import os
import shlex
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

os.environ.setdefault("MPLBACKEND", "Agg")

import blocks
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

SIZE = (6.4, 2.6)  # of a page's own figures: as wide as the page


def run(source: str, namespace: dict[str, Any], name: str) -> tuple[str, Any]:
    """Execute `source`; return what it printed, and the value of a last expression.

    A value that is no figure is printed as a prompt would show it.
    """
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(tree, name, "exec"), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
            if value is not None and not hasattr(value, "savefig"):
                print(value)
    return printed.getvalue(), value


def shell(source: str) -> str:
    """Run commands in the present directory; return what they print, under each its own where there are several."""
    commands = blocks.commands(source)
    titles = [f"printf '%s\\n' {shlex.quote(f'$ {command}')}\n" for command in commands]
    if len(commands) == 1:
        titles = [""]
    script = "\n".join(t + command for t, command in zip(titles, commands, strict=True))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout.replace(f"{Path.cwd()}{os.sep}", "")


def reason(block: nodes.literal_block) -> str | None:
    """Why the page says that a block is not run here, if it does."""
    index = block.parent.index(block)
    before = block.parent[index - 1] if index else None
    return (
        blocks.skipped(before.astext(), building=True)
        if isinstance(before, nodes.raw)
        else None
    )


def runs(block: nodes.literal_block) -> bool:
    """Whether a block is a page's own code."""
    return block.get("language") in blocks.LANGUAGES and not reason(block)


class Live(SphinxTransform):
    """Replace each block by itself followed by its results."""

    default_priority = 200  # before pictures are collected

    def apply(self, **kwargs: Any) -> None:
        """Run the page."""
        page = self.env.docname
        found = [node for node in self.document.findall(nodes.literal_block) if runs(node)]
        if not found:
            return
        self.env.note_reread()  # its results depend on the package too, not on its text alone
        import matplotlib.pyplot as plt
        import torch

        from ppl_vae.plots import theme

        torch.manual_seed(0)
        namespace: dict[str, Any] = {"__name__": "__main__"}
        here = Path.cwd()
        with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
            stack.enter_context(theme())
            plt.rcParams["figure.figsize"] = SIZE
            stack.callback(plt.close, "all")
            os.chdir(directory)
            stack.callback(os.chdir, here)
            sys.path.insert(0, directory)  # where a prompt looks for modules
            stack.callback(sys.path.remove, directory)
            for number, block in enumerate(found):
                try:
                    text, value = self.result(block, namespace)
                except Exception:
                    message = f"this block raised\n{traceback.format_exc(limit=-3)}"
                    logger.warning(
                        message, location=block
                    )  # an error: `make docs` is strict
                    break  # the blocks below would fail for lack of its names
                figures = [plt.figure(n) for n in plt.get_fignums()]
                if hasattr(value, "savefig") and value not in figures:
                    figures.append(value)
                results = self.show(text) + self.pictures(page, number, figures)
                plt.close("all")
                block.parent[
                    block.parent.index(block) + 1 : block.parent.index(block) + 1
                ] = results
            for name, module in list(sys.modules.items()):  # the page's own files
                if Path(getattr(module, "__file__", None) or "/").parent == Path(directory):
                    del sys.modules[name]

    def result(
        self, block: nodes.literal_block, namespace: dict[str, Any]
    ) -> tuple[str, Any]:
        """What a block prints, and what its last line gives."""
        source = block.astext() + "\n"
        if block["language"] == "console":
            return shell(source), None
        file = blocks.file_name(source)
        if file:
            Path(file).write_text(source, encoding="utf-8")
            return "", None
        return run(source, namespace, f"{self.env.docname}.md, line {block.line}")

    def show(self, text: str) -> list[nodes.Node]:
        """What was printed, as a block of its own."""
        if not text.strip():
            return []
        block = nodes.literal_block(
            text.rstrip("\n"), text.rstrip("\n"), language="text", classes=["live-output"]
        )
        return [nodes.container("", block, classes=["live"])]

    def pictures(self, page: str, number: int, figures: list[Any]) -> list[nodes.Node]:
        """Figures, saved beside the page; each as wide as it was made, or as the page where that is less."""
        found: list[nodes.Node] = []
        folder = Path(self.env.srcdir) / "_run"
        folder.mkdir(exist_ok=True)
        for index, figure in enumerate(figures):
            name = f"{page.replace('/', '-')}-{number}-{index}.png"
            figure.savefig(folder / name, dpi=144, bbox_inches="tight")
            titles = [axes.get_title(loc="left") for axes in figure.axes]
            alt = str(figure.get_label()) or ". ".join(filter(None, titles))
            wide = figure.get_figwidth() >= SIZE[0]
            width = "100%" if wide else f"{96 * figure.get_figwidth():.0f}px"
            data = any(axes.images for axes in figure.axes)  # which is no drawing
            classes = ["live-figure"] if data else ["live-figure", "drawing"]
            found.append(
                nodes.image(uri=f"/_run/{name}", alt=alt, width=width, classes=classes)
            )
        return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform."""
    app.add_transform(Live)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
