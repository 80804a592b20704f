"""The glossary where it is needed: the first time that a page uses one of its words, the word tells what it means.

The pointer, or the focus of the keyboard, shows the first sentence of its entry; a click leads there.
"""

import functools
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

COMMON = frozenset(
    {"bound", "code", "flow", "model", "pair", "resume", "site", "temperature", "β"}
)
"""Words that pages use in other senses, too."""

LEFT_OUT = ("api", "changes", "glossary", "licences")
"""Pages of names, and the glossary."""

NOT_IN = (
    nodes.title,
    nodes.reference,
    nodes.literal,
    nodes.literal_block,
    nodes.raw,
    nodes.table,
    nodes.math,
)


@functools.cache
def entries(app: Sphinx) -> dict[str, tuple[str, str]]:
    """The place of each word in the glossary and the first sentence of its entry."""
    found = {}
    for item in app.env.get_doctree("glossary").findall(nodes.definition_list_item):
        told = (
            next(item.findall(nodes.definition))
            .astext()
            .split("\n\n")[0]
            .replace("\n", " ")
        )
        sentence = re.split(r"(?<=[.:]) ", told)[0].rstrip(":")
        for term in item.findall(nodes.term):
            found[term.astext()] = term["ids"][0], sentence
    return found


def pattern(words: list[str]) -> re.Pattern[str]:
    """Whole words, the longest first; names of capitals as they are written."""
    ordered = sorted(words, key=len, reverse=True)
    parts = [
        re.escape(w) if any(c.isupper() for c in w) else f"(?i:{re.escape(w)})"
        for w in ordered
    ]
    return re.compile(rf"(?<![\w-])({'|'.join(parts)})(?![\w-])")


def mark(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Let words of the page tell what they mean."""
    if page.split("/")[0] in LEFT_OUT or app.builder.format != "html":
        return
    known = entries(app)
    by_word = {word.lower(): (word, *entry) for word, entry in known.items()}
    for reference in doctree.findall(nodes.reference):
        place = reference.get("refuri", "").partition("#")[2]
        told = next((sentence for at, sentence in known.values() if at == place), None)
        if told and place.startswith("term-"):
            reference["reftitle"] = told
    words = pattern([word for word in known if word not in COMMON])
    seen: set[str] = set()
    for text in list(doctree.findall(nodes.Text)):
        if not isinstance(text.parent, nodes.paragraph) or any(
            isinstance(p, NOT_IN) for p in parents(text)
        ):
            continue
        parts: list[nodes.Node] = []
        at = 0
        for match in words.finditer(text.astext()):
            word, place, sentence = by_word[match[1].lower()]
            if word in seen:
                continue
            seen.add(word)
            uri = f"{app.builder.get_relative_uri(page, 'glossary')}#{place}"
            link = nodes.reference(
                "", match[1], refuri=uri, internal=True, reftitle=sentence, classes=["word"]
            )
            parts += [nodes.Text(text.astext()[at : match.start()]), link]
            at = match.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(text.astext()[at:])])


def parents(node: nodes.Node) -> list[nodes.Node]:
    """The node's parent, its parent, and so on."""
    found = []
    while node.parent is not None:
        node = node.parent
        found.append(node)
    return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it."""
    app.connect("doctree-resolved", mark)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
