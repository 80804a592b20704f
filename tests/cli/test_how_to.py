"""Commands that stand in the tables and the prose of the how-tos, which no build of the documentation runs, compose."""

import re
import shlex
from pathlib import Path

import pytest

from ppl_vae.config.schema import conf_dir, verbs

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [*sorted((DOCS / "how-to").glob("*.md")), DOCS / "faq.md"]
GROUPS = {path.name for path in conf_dir().iterdir() if path.is_dir()} - {"hydra"}
NEEDS = ["dataset=csv", "dataset.path=x"], ["dataset=npz", "dataset.path=x"], ["guide=derived"]
"""Options whose keys stand alone in a text that says of which data or guide they are."""


def inline(page: Path) -> list[str]:
    """What stands between single backquotes, outside of blocks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [code.replace("…", "").strip() for code in re.findall(r"`([^`\n]+)`", text)]


def overrides(code: str) -> list[str] | None:
    """The words after `train` of one run, or words that are said to be added to it."""
    words = shlex.split(code)
    if words[:2] == ["ppl-vae", "train"]:
        words = words[2:]
    elif words[0].partition("=")[0].partition(".")[0] not in GROUPS or "=" not in words[0]:
        return None
    started = any(word == "-m" or word.startswith(("resume=", "init=")) for word in words)
    return None if started or any(word.endswith("=") or word.startswith("id=") for word in words) else words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_verbs_are_there(page):
    said = re.findall(r"ppl-vae ([a-z]+)\b", page.read_text(encoding="utf-8"))
    assert set(said) <= set(verbs())


@pytest.mark.slow  # some seventy compositions
def test_options_and_keys_are_there(cli):
    found = {tuple(words) for page in PAGES for code in inline(page) if (words := overrides(code))}
    assert len(found) > 50
    for words in sorted(found):
        tries = [more for more in ([], *NEEDS) if clear(more, words)]
        assert any(cli("train", *more, *words, "--cfg", "job").code == 0 for more in tries), words


def clear(more: list[str], words: tuple[str, ...]) -> bool:
    """Whether no word chooses what the others choose already."""
    return not {word.partition("=")[0] for word in more} & {word.partition("=")[0] for word in words}
