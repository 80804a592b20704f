"""Docstrings as Markdown: prose is Markdown already; sections (Args, Raises, Example, References) become lists and code."""

import inspect
import re
import textwrap
from collections.abc import Callable, Collection
from typing import Any

SECTION = re.compile(
    r"^(Args|Arguments|Attributes|Returns|Yields|Raises|Shapes?|Examples?|References?|Notes?):\s*$",
    re.MULTILINE,
)
ITEM = re.compile(r"^(\S[^:\n]*?):[ \n]+(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
FIELDS = {"Args": "param", "Arguments": "param", "Raises": "raises"}


def first(text: str) -> str:
    """The sentence that a docstring begins with."""
    return " ".join(text.split("\n\n")[0].split())


def first_line(thing: Any) -> str:
    """The sentence that the docstring of an object begins with."""
    return first(inspect.getdoc(thing) or "")


def cell(text: str) -> str:
    """Text that may stand in a table."""
    return text.replace("|", "\\|")


def sections(text: str) -> list[tuple[str, str]]:
    """Titles with what stands under them; prose, before them or after one that has ended, has none."""
    if not re.search(r"(?m)^Examples?:", text):  # an example may stand without a title
        text = re.sub(r"(?m)^(?=>>> )", "Example:\n", text, count=1)
    parts = SECTION.split(text)
    found = [("", parts[0])]
    for title, inside in zip(parts[1::2], parts[2::2], strict=True):
        end = re.search(r"(?m)^(?=\S)", inside)
        if end and inside[: end.start()].strip():  # what is not indented is prose again
            found += [(title, inside[: end.start()]), ("", inside[end.start() :])]
        else:
            found.append((title, inside))
    return [
        (t, textwrap.dedent(inside.strip("\n")).rstrip())
        for t, inside in found
        if inside.strip()
    ]


def items(text: str, title: str) -> dict[str, str]:
    """The names that a section describes, each with its description in one line."""
    return {
        name.strip("`"): " ".join(words.split())
        for found, inside in sections(text)
        if found == title
        for name, words in ITEM.findall(inside + "\n")
    }


def markdown(
    text: str, link: Callable[[str], str] = str, leave: Collection[str] = ()
) -> str:
    """A docstring as Markdown, its prose as `link` changes it, without the sections to `leave` out."""
    return "\n\n".join(
        section(t, inside, link) for t, inside in sections(text) if t not in leave
    )


def prose(text: str, link: Callable[[str], str]) -> str:
    """Paragraphs; examples among them become code."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        starts = line.lstrip().startswith(">>> ")
        if starts and not inside:
            lines += ["", "```pycon"]
            inside = True
        elif inside and not line.strip():
            lines.append("```")
            inside = False
        lines.append(line if inside else link(line))
    return "\n".join([*lines, "```"] if inside else lines)


def section(title: str, text: str, link: Callable[[str], str]) -> str:
    """One section: arguments and errors as fields of their directive, the rest under its title in bold."""
    if not title:
        return prose(text, link)
    if title.startswith("Example"):
        return f"```pycon\n{text}\n```"
    found = ITEM.findall(text + "\n") if title in (*FIELDS, "Attributes") else []
    if found and title in FIELDS:
        return "\n".join(
            f":{FIELDS[title]} {name.strip('`')}: {link(' '.join(words.split()))}"
            for name, words in found
        )
    if found:
        rows = (
            f"- `{name.strip('`')}`: {link(' '.join(words.split()))}"
            for name, words in found
        )
        return f"**{title}**\n\n" + "\n".join(rows)
    if title.startswith("Reference"):
        text = re.sub(r"(https?://\S+?)([.,;]?)(?=\s|$)", r"<\1>\2", text)
        return f"**{title}**\n\n" + re.sub(r"(?m)^(?=\S)", "- ", text)
    return f"**{title}**\n\n{prose(text, link)}"
