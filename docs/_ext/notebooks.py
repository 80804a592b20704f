"""Each page whose code runs is a notebook, too: `site/_notebooks/PAGE.ipynb`, with a link to it below the title."""

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from notebook import is_one, notebook
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class Link(SphinxTransform):
    """Say below the title that the page is a notebook, too."""

    default_priority = 900

    def apply(self, **kwargs: Any) -> None:
        """Add the line."""
        page = Path(self.env.doc2path(self.env.docname))
        title = next(iter(self.document.findall(nodes.title)), None)
        if (
            title is None
            or page.suffix != ".md"
            or "_run" in page.parts
            or not is_one(page)
        ):
            return
        up = "../" * self.env.docname.count("/")
        target = f"{up}_notebooks/{self.env.docname}.ipynb"
        link = nodes.reference("", "a notebook", refuri=target, classes=["notebook"])
        line = nodes.paragraph(
            "", "", nodes.Text("This page is "), link, nodes.Text(", too.")
        )
        line["classes"].append("as-notebook")
        title.parent.insert(title.parent.index(title) + 1, line)


def write(app: Sphinx, error: Exception | None) -> None:
    """Write them when the pages are done."""
    if error is not None or app.builder.format != "html":
        return
    for name in app.env.found_docs:
        page = Path(app.env.doc2path(name))
        if page.suffix == ".md" and is_one(page):
            target = Path(app.outdir) / "_notebooks" / f"{name}.ipynb"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(
                json.dumps(notebook(page, name), indent=1) + "\n", encoding="utf-8"
            )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register both."""
    app.add_transform(Link)
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
