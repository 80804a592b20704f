"""The gallery: each of its sections is a small picture, and a click on it shows the whole, with the code that drew it.

A page says so of itself, `thumbnails: true` in its front matter. There, what stands below a heading of the third level and
ends in a picture becomes a `details`, its summary the picture. Nothing of it needs a script.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


def html(text: str) -> nodes.raw:
    """A tag."""
    return nodes.raw("", text, format="html")


class Thumbnails(SphinxTransform):
    """Fold the sections."""

    default_priority = 210  # when the blocks have run

    def apply(self, **kwargs: Any) -> None:
        """Fold them."""
        if not self.env.metadata[self.env.docname].get("thumbnails"):
            return
        for section in list(self.document.findall(nodes.section)):
            images = [n for n in section.children if isinstance(n, nodes.image)]
            if not images or not isinstance(section.parent.parent, nodes.section):
                continue  # a chapter: its picture, if any, stays
            title, *rest = (n for n in section.children if n is not images[-1])
            images[-1]["alt"] = images[-1]["alt"] or title.astext()
            section.children = []
            parts = [html("<details><summary>"), images[-1], html("</summary>")]
            section += [title, *parts, *rest, html("</details>")]
            section["classes"].append("thumbnail")
            if "thumbnails" not in section.parent["classes"]:
                section.parent["classes"].append("thumbnails")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform."""
    app.add_transform(Thumbnails)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
