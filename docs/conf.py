"""How `make docs` builds these pages: offline, strictly, and running their code."""

import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from ppl_vae.version import __version__

project = "ppl_vae"
author = "The ppl_vae developers"
copyright = "2026, the ppl_vae developers. Apache-2.0"  # noqa: A001 - Sphinx asks for this name
release = __version__

extensions = [
    "myst_parser",
    "reference",
    "sources",
    "trick",
    "live",
    "thumbnails",
    "hover",
    "notebooks",
    "mathml",
]
exclude_patterns = ["_run", "_ext"]
if find_spec("lda") is None:  # the data of one page, which have no wheel for Python 3.13
    print(
        "documents.md is left out: its data are in the package lda, which is not installed"
    )
    exclude_patterns.append("documents.*")
    suppress_warnings = ["toc.excluded"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
python_maximum_signature_line_length = 88  # longer ones take a line an argument
toc_object_entries_show_parents = "hide"
html_math_renderer = "mathml"

html_theme = "furo"
html_title = f"ppl_vae {release}"
html_static_path = ["_static"]
html_css_files = ["live.css"]
html_show_sphinx = False
