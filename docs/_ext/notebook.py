"""A page as a notebook: its blocks as cells, its prose between them.

Blocks of Python are cells, blocks of shell are cells of `%%bash`, and a block that is a file is written by
`%%writefile`. What is left out when the page is built stays text.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

import blocks

LEAST = 2
"""Blocks of Python from which a page is worth a notebook."""

_FENCE = re.compile(r"^(?P<fence>[`:]{3,})(?P<word>[^\s`:]*)")
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)\.md(#[^)\s]*)?\)")


def source_of(block: blocks.Block) -> str:
    """A block as a cell."""
    if block.language == "console":
        return "%%bash\n" + "\n".join(blocks.commands(block.text))
    file = blocks.file_name(block.text)
    return (f"%%writefile {file}\n" if file else "") + block.text.rstrip("\n")


def notebook(page: Path, name: str) -> dict[str, Any]:
    """A page as a notebook of format 4.4."""
    runs = {
        block.line: block
        for block in blocks.blocks(page, building=True)
        if not block.skipped
    }
    cells: list[dict[str, Any]] = []
    prose: list[str] = []

    def tell() -> None:
        text = markdown("\n".join(prose), name)
        prose.clear()
        if text:
            cells.append(cell("markdown", text))

    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        found = runs.get(number + 2) if _FENCE.match(lines[number]) else None
        if found is None:
            prose.append(lines[number])
            number += 1
            continue
        tell()
        cells.append(cell("code", source_of(found)))
        number += 2 + len(found.text.splitlines())
    tell()
    return {
        "cells": cells,
        "metadata": {"language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 4,
    }


def cell(kind: str, text: str) -> dict[str, Any]:
    """One cell, not run."""
    made: dict[str, Any] = {
        "cell_type": kind,
        "metadata": {},
        "source": text.splitlines(keepends=True),
    }
    return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def markdown(text: str, name: str) -> str:
    """Prose as a notebook shows it: without front matter, comments and directives, with links that lead to the pages."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"(?ms)^(`{3,}|:{3,})\{.*?^\1\s*$", "", text)
    up = "../" * (name.count("/") + 1)

    def link(found: re.Match[str]) -> str:
        page = normpath(join(dirname(name), found[1]))
        return f"]({up}{page}.html{found[2] or ''})"

    return re.sub(r"\n{3,}", "\n\n", _LINK.sub(link, text)).strip()


def is_one(page: Path) -> bool:
    """True for a page with enough of Python to be worth a notebook."""
    found = blocks.blocks(page, building=True)
    return sum(block.language == "python" and not block.skipped for block in found) >= LEAST
