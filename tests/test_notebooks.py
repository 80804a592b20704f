"""A page's notebook holds the page's code, all of it, in order, and nothing else to run."""

import json
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
try:
    import blocks
    import notebook
finally:
    sys.path.remove(str(DOCS / "_ext"))

PAGES = sorted(page for page in DOCS.rglob("*.md") if not {"_run", "_ext", "api"} & set(page.parts))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_code_is_that_of_the_page(page):
    name = str(page.relative_to(DOCS).with_suffix(""))
    made = json.loads(json.dumps(notebook.notebook(page, name)))
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 4)
    cells = ["".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "code"]
    expected = [block for block in blocks.blocks(page, building=True) if not block.skipped]
    assert len(cells) == len(expected)
    for text, block in zip(cells, expected, strict=True):
        body = text.split("\n", 1)[1] if text.startswith("%%") else text
        assert text.startswith("%%bash") == (block.language == "console")
        kept = "\n".join(blocks.commands(block.text)) if block.language == "console" else block.text.rstrip("\n")
        assert body == kept
    prose = "\n".join("".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "markdown")
    assert "{toctree}" not in prose
    assert "<!--" not in prose


def test_links_lead_to_the_pages(tmp_path):
    """From `_notebooks/how-to/x.ipynb`, beside `how-to/x.html` in the folder above."""
    page = tmp_path / "x.md"
    page.write_text("[a](y.md) [b](../z.md#part) [c](https://a.test/q.md) [d](#here)\n")
    (cell,) = notebook.notebook(page, "how-to/x")["cells"]
    told = "[a](../../how-to/y.html) [b](../../z.html#part) [c](https://a.test/q.md) [d](#here)"
    assert "".join(cell["source"]) == told
