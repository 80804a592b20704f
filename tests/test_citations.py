"""Works are kept once, in `references.bib`; docstrings refer to them in one form, and `citation` finds them by it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

import ppl_vae as pv
from ppl_vae.citations import Work, citation, entries, works

PACKAGE = Path(pv.__file__).parent
PLACE = r", (sections?|chapters?|tables?|figures?|equations?|appendix|algorithm) [\w.]+( and [\w.]+)?"


def docstrings() -> Iterator[tuple[str, str]]:
    """Every docstring of the package, of private parts too, with where it stands."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                where = f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 1)}"
                yield where, ast.get_docstring(node) or ""


def test_docstrings_refer_to_the_bibliography() -> None:
    """An entry is what `references.bib` renders, with a place in the work at most; the heading has one form."""
    rendered = sorted(map(str, works().values()), key=len, reverse=True)
    wrong = []
    for where, text in docstrings():
        wrong += [f"{where}: write `References:`" for _ in re.findall(r"^ *Reference:", text, re.MULTILINE)]
        for entry in entries(text):
            work = next((work for work in rendered if entry.startswith(work)), "")
            if not work or not re.fullmatch(f"({PLACE})?", entry.removeprefix(work)):
                wrong.append(f"{where}: {entry!r} is no entry of references.bib as str(work) writes it")
    assert not wrong, "\n".join(wrong)


def test_every_section_is_read() -> None:
    """As many headings as sections with entries: none is empty, or indented so that it cannot be read."""
    for where, text in docstrings():
        headings = len(re.findall(r"^ *References:", text, re.MULTILINE))
        assert bool(headings) == bool(list(entries(text))), where
        assert headings <= 1, f"{where}: one section `References:` is enough"


def test_every_work_is_referred_to() -> None:
    referred = [entry for _, text in docstrings() for entry in entries(text)]
    unused = [key for key, work in works().items() if not any(entry.startswith(str(work)) for entry in referred)]
    assert not unused, f"no docstring refers to {unused}: remove them from references.bib"


def test_the_bibliography_is_in_order() -> None:
    """Sorted by key, each work once, in the form that the reader reads, with what every work has."""
    text = (PACKAGE / "references.bib").read_text(encoding="utf-8")
    assert text == "\n\n".join(work.bibtex() for work in works().values()) + "\n"
    assert list(works()) == sorted(works())
    for each in ("title", "url"):
        values = [getattr(work, each).casefold() for work in works().values() if getattr(work, each)]
        assert len(values) == len(set(values)), each
    for key, work in works().items():
        assert set(work.fields) >= {"author", "title", "year"}, key
        assert work.kind in ("article", "inproceedings", "misc"), key
        assert work.kind == "misc" or {"article": "journal", "inproceedings": "booktitle"}[work.kind] in work.fields
        assert re.fullmatch(rf"[a-z]+{work.fields['year']}[a-z]+", key)
        assert all(", " in name for name in work.fields["author"].split(" and ")), key


@pytest.mark.parametrize("key", works())
def test_reads_what_it_writes(key: str) -> None:
    work = works()[key]
    assert Work.from_bibtex(work.bibtex()) == work
    assert Work.from_entry(str(work)) is work
    assert Work.from_entry(f"{work}, section 5.1.") is work


@pytest.mark.parametrize(
    ("authors", "shown"),
    {
        "Neal, Radford M.": "Neal",
        "Kingma, Diederik P. and Welling, Max": "Kingma and Welling",
        "Theis, Lucas and van den Oord, Aäron and Bethge, Matthias": "Theis, van den Oord and Bethge",
        "A, A. and B, B. and C, C. and D, D.": "A, B, C and D",
        "A, A. and B, B. and C, C. and D, D. and E, E.": "A et al.",
        "A, A. and others": "A et al.",
    }.items(),
)
def test_names_of_authors(authors: str, shown: str) -> None:
    work = Work("misc", "key", {"author": authors, "title": "{On it}", "year": "2001", "url": "https://a.org/b"})
    assert str(work) == f"{shown} (2001), On it, https://a.org/b"


OWN = {
    "link": ("Doe and Roe (2030), On it, https://a.org/b", "Doe and Roe", "On it", "https://a.org/b"),
    "commas in the title": ("Doe (2030), Yes, but how? On it", "Doe", "Yes, but how? On it", ""),
    "a place in it": ("Doe, Roe and Poe (2030), On it, section 5.", "Doe and Roe and Poe", "On it", ""),
    "particles in names": ("van den Berg, Li & Poe (2030), On it", "{van den Berg} and Li and Poe", "On it", ""),
    "many authors": ("Doe et al. (2030), On it", "Doe and others", "On it", ""),
}


@pytest.mark.parametrize(("text", "author", "title", "url"), OWN.values(), ids=OWN)
def test_works_of_a_user(text: str, author: str, title: str, url: str) -> None:
    work = Work.from_entry(text)
    assert work is not None
    assert (work.fields["author"], work.title, work.url) == (author, title, url)


def test_a_known_work_is_told_by_its_link_or_its_title() -> None:
    known = works()["roeder2017sticking"]
    assert Work.from_entry("Roeder et al. (2017), Sticking the Landing, https://arxiv.org/abs/1703.09194") is known
    assert Work.from_entry(f"Roeder et al. (2017), {known.title.lower()}") is known


def test_entries_some_wrapped() -> None:
    def part() -> None:
        """Does it.

        References:
            Burda, Grosse and Salakhutdinov (2016), Importance Weighted
                Autoencoders, https://arxiv.org/abs/1509.00519
            Doe (2030), On it

        Example:
            >>> 1
            1
        """

    assert list(entries(part.__doc__ or "")) == [str(works()["burda2016importance"]), "Doe (2030), On it"]


def test_cites_the_parts_of_a_pair_once_and_says_what_it_cannot_read() -> None:
    class Network(nn.Module):
        """A network.

        References:
            Kingma and Welling (2014), Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114
            Doe (2030), On it
            something else
        """

    def program() -> None:
        """A program.

        References:
            Neal (2001), Annealed Importance Sampling
        """

    network = Network()
    network.program = program  # type: ignore[assignment]
    text = citation(network, pv.objectives.ELBO())
    assert text.count("{") == text.count("}")
    keys = re.findall(r"^@\w+{(\w+),", text, re.MULTILINE)
    assert keys == ["ppl_vae", "bingham2019pyro", "kingma2014auto", "doe2030it", "neal2001annealed", "higgins2017beta"]
    assert works()["kingma2014auto"].bibtex() in text
    assert [line for line in text.splitlines() if line.startswith("%")] == [
        "% Got 'something else', expected `Authors (year), Title, https://…`: it is not cited."
    ]
