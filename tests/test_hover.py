"""Pages tell what the words of the glossary mean, once a page, in running text."""

import sys
import types
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="comes with the documentation's own packages")
from docutils import nodes, utils

DOCS = Path(__file__).resolve().parents[1] / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
try:
    import hover
finally:
    sys.path.remove(str(DOCS / "_ext"))

ENTRIES = {"guide": "The program q(z | x): a family.", "ELBO": "Evidence lower bound. It is maximized.", "code": "z."}


def glossary():
    document = utils.new_document("glossary")
    for number, (word, text) in enumerate(ENTRIES.items()):
        item = nodes.definition_list_item()
        item += nodes.term("", word, ids=[f"term-{number}"])
        item += nodes.definition("", nodes.paragraph("", text))
        document += item
    return document


def marked(*parts, page="page"):
    """The links of a paragraph, after it was gone through."""
    document = utils.new_document("page")
    document += nodes.paragraph("", "", *parts)
    builder = types.SimpleNamespace(format="html", get_relative_uri=lambda page, to: f"{to}.html")
    app = types.SimpleNamespace(builder=builder, env=types.SimpleNamespace(get_doctree=lambda name: glossary()))
    app = type("App", (), vars(app))()  # one that can be a key
    hover.mark(app, document, page)
    return document, [(link.astext(), link["reftitle"]) for link in document.findall(nodes.reference)]


def test_a_word_is_told_the_first_time_and_the_text_stays():
    text = "A Guide, a guide; misguided guides, the ELBO, no elbo, a guide-line, some code."
    document, links = marked(nodes.Text(text))
    assert links == [("Guide", "The program q(z | x)"), ("ELBO", "Evidence lower bound.")]
    assert document.astext() == text
    assert document.next_node(nodes.reference)["refuri"] == "glossary.html#term-0"


def test_names_in_code_and_links_stay_what_they_are():
    _, links = marked(nodes.literal("", "guide"), nodes.Text(" and "), nodes.strong("", "guide"))
    assert links == []
    link = nodes.reference("", "the guide", refuri="glossary.html#term-0")
    assert marked(link)[1] == [("the guide", "The program q(z | x)")]


def test_pages_of_names_are_left_out():
    assert marked(nodes.Text("guide"), page="api/models")[1] == []
    assert marked(nodes.Text("guide"), page="glossary")[1] == []


def test_words_that_are_left_out_are_in_the_glossary():
    lines = (DOCS / "glossary.md").read_text(encoding="utf-8").splitlines()
    assert set(lines) >= hover.COMMON
