"""Code blocks of a page, as a reader finds them: what is run, what is a file, what is left out and why.

- ``python`` runs in one namespace per page, ``console`` in a shell, in the order of the page.
- A ``python`` block whose first line is a comment with the name of a file, ``# my_models.py``, is that file.
- ``<!-- not run: REASON -->`` before a block leaves it out; ``<!-- not run in the documentation build: REASON -->`` there
  alone. Nothing else does.
"""

import re
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = ("python", "console")

_FENCE = re.compile(r"^(?P<fence>`{3,})(?P<language>[^\s`]*)[^\n`]*$")
_NOT_RUN = re.compile(
    r"<!-- not run(?P<build> in the documentation build)?: (?P<reason>.+?) -->", re.DOTALL
)
_FILE = re.compile(r"# ([\w-]+\.\w+)\n")


@dataclass(frozen=True)
class Block:
    """One block: where its first line of code stands, and why it is not run, if so."""

    page: Path
    line: int
    language: str
    text: str
    skipped: str | None


def skipped(comment: str, *, building: bool) -> str | None:
    """The reason that a comment gives for leaving out the block that follows it."""
    mark = _NOT_RUN.fullmatch(comment.strip())
    applies = mark and (building or not mark["build"])
    return " ".join(mark["reason"].split()) if mark and applies else None


def file_name(text: str) -> str | None:
    """The file that a block of Python is, if it says so."""
    found = _FILE.match(text)
    return found[1] if found else None


def commands(text: str) -> list[str]:
    """The commands of a console block, each with the lines that go on with it."""
    lines = [line for line in re.split(r"(?<!\\)\n", text) if line.strip()]
    return [line for line in lines if not line.lstrip().startswith("#")]


def blocks(page: Path, *, building: bool = False) -> list[Block]:
    """All blocks of a page that are meant to run, in order."""
    found: list[Block] = []
    fence, language, start, code = "", "", 0, []
    before: list[str] = []  # the paragraph above the fence
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        opening = _FENCE.match(line)
        if fence and line.strip() == fence:
            if language in LANGUAGES:
                why = skipped("\n".join(before), building=building)
                found.append(Block(page, start, language, "\n".join(code) + "\n", why))
            fence, before = "", []
        elif fence:
            code.append(line)
        elif opening:
            fence, language, start, code = (
                opening["fence"],
                opening["language"],
                number + 1,
                [],
            )
        elif line.strip() and not (before and before[-1] == ""):
            before.append(line)
        elif line.strip():
            before = [line]
        elif before:
            before.append("")
    return found
