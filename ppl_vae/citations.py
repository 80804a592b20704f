"""BibTeX for the parts a pair is made of, read from their docstrings.

A part (a class or a function, ours or a user's) names what it implements in a section of its docstring:
an entry holds authors, year in brackets, title, and what else helps to find it.

Reference:
    Bingham et al. (2019), Pyro: Deep Universal Probabilistic Programming, JMLR 20(28).
"""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ppl_vae.version import __version__

_SECTION = re.compile(r"^( *)References?:[ \t]*\n((?:\1[ \t]+\S.*\n?|[ \t]*\n)+)", re.MULTILINE)
_NAMED = re.compile(r"(?P<authors>[^()]+?)\s*\((?P<year>\d{4})[a-z]?\)[,.:]?\s*(?P<rest>.+)")
_TITLED = re.compile(r"(?P<title>.+?)\s*\((?P<authors>[^()]+?),? (?P<year>\d{4})[a-z]?\)[,.:]?\s*(?P<rest>.*)")
_QUOTED = re.compile(r"(?P<authors>[^\"]+?), \"(?P<title>[^\"]+?),?\",? (?P<year>\d{4})[,.]?\s*(?P<rest>.*)")
_URL = re.compile(r"https?://\S+?(?=[.,;]?(\s|$))")
_PLACE = re.compile(r"(?:sections?|chapters?|pages?|eqs?\.|equations?|appendix|algorithm) .*|[A-Z][^ ]*(?: [^ ]+){0,3}")


@dataclass(frozen=True)
class Reference:
    """One paper.

    Example:
        >>> text = "Kingma and Welling (2014), Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114"
        >>> Reference.parse(text).title
        'Auto-Encoding Variational Bayes'
    """

    authors: tuple[str, ...]
    year: str
    title: str
    venue: str = ""
    url: str = ""

    @classmethod
    def parse(cls, text: str) -> "Reference | None":
        """Read one entry, in any of the usual orders; None if the text is none.

        `Authors (year), Title, venue, URL`; `Title (Authors, year), venue, URL`; `Authors, "Title", year, venue, URL`.
        """
        text = " ".join(text.split())
        url = _URL.search(text)
        text = _URL.sub("", text).strip(" .,;")
        match = _NAMED.fullmatch(text) or _TITLED.fullmatch(text) or _QUOTED.fullmatch(text)
        if match is None:
            return None
        groups = match.groupdict()
        pieces = [piece.strip(" .,") for piece in re.split(r"[,.] ", groups["rest"])]
        pieces = [piece for piece in pieces if piece]
        venue: list[str] = []
        while pieces and (groups.get("title") or (len(pieces) > 1 and _PLACE.fullmatch(pieces[-1]))):
            venue.insert(0, pieces.pop())  # a title may hold commas: venues are taken from the end
        authors = re.sub(r",? et al\.?", " and others", groups["authors"])
        names = [name.strip(" ,") for name in re.split(r", and |, & |, | and | & ", authors)]
        return cls(
            authors=tuple(name for name in names if name),
            year=groups["year"],
            title=(groups.get("title") or ", ".join(pieces)).strip(" .,\"'"),
            venue=", ".join(venue),
            url=url.group(0) if url else "",
        )

    @property
    def key(self) -> str:
        """First author, year and first word of the title: kingma2014auto."""
        word = next((w for w in re.findall(r"[a-z]+", self.title.lower()) if w not in ("a", "an", "the", "on")), "")
        name = re.sub(r"[^a-z]", "", self.authors[0].split()[-1].lower())
        return f"{name}{self.year}{word}"

    def bibtex(self) -> str:
        """The entry, its title kept as it is written."""
        authors = [name if name == "others" or " " not in name else f"{{{name}}}" for name in self.authors]
        fields = {
            "author": " and ".join(authors),
            "title": f"{{{self.title}}}",
            "year": self.year,
            "note": self.venue,
            "url": self.url,
        }
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"@misc{{{self.key},", *lines, "}"])


def references(part: Any) -> list[Reference]:
    """What the docstring of a class, function, module or object of such a class refers to."""
    if not (inspect.isclass(part) or inspect.isroutine(part) or inspect.ismodule(part)):
        part = type(part)
    found: list[Reference] = []
    for section in _SECTION.finditer(inspect.cleandoc(part.__doc__ or "") + "\n"):
        parsed = (Reference.parse(entry) for entry in _entries(section.group(2)))
        found += [reference for reference in parsed if reference is not None]
    return found


def _entries(body: str) -> Iterator[str]:
    """Split a section: an entry that has its year ends with a line that ends it, or where another one has a year."""
    year = re.compile(r"\([^()]*\d{4}[a-z]?\)|\", \d{4}")
    entry = ""
    for line in re.sub(r";\s", "\n", body).splitlines():
        complete = bool(year.search(entry))
        if complete and (entry.endswith((".", ";")) or _URL.fullmatch(entry.split()[-1]) or year.search(line)):
            yield entry
            entry = ""
        entry = f"{entry} {line.strip().lstrip('-* ')}".strip()
    yield entry


def _parts(vae: Any, objective: Any) -> Iterator[Any]:
    yield sys.modules[__name__]
    for holder in (vae, objective):
        modules = list(holder.modules()) if hasattr(holder, "modules") else [holder]
        yield from (type(module) if not inspect.isroutine(module) else module for module in modules)
        for module in modules:  # programs that are functions, and what a part is configured with
            values = vars(module).values() if hasattr(module, "__dict__") else ()
            yield from (value for value in values if inspect.isfunction(value))
    yield from (getattr(vae, "estimators", None) or {}).values()
    for known in getattr(vae, "prepared", {}).values():  # the estimators that sites take by default
        yield from known.estimators.values()


def citation(vae: Any, objective: Any = None) -> str:
    r"""BibTeX for a pair and its objective: this package, Pyro, and the papers its parts name.

    Args:
        vae: the pair; its networks, estimators and programs, yours too, are asked for their docstrings.
        objective: what it was trained with, if it is to be cited as well.

    Example:
        >>> import torch
        >>> class Network(torch.nn.Module):
        ...     '''A network.
        ...
        ...     Reference:
        ...         Rezende, Mohamed and Wierstra (2014), Stochastic Backpropagation, ICML.
        ...     '''
        >>> print(citation(Network()).split("\n\n")[-1])
        @misc{rezende2014stochastic,
          author = {Rezende and Mohamed and Wierstra},
          title = {{Stochastic Backpropagation}},
          year = {2014},
          note = {ICML},
        }
    """
    own = "\n".join(
        (
            "@misc{ppl_vae,",
            "  author = {{The ppl_vae developers}},",
            "  title = {{ppl_vae: variational autoencoders as Pyro model/guide pairs}},",
            f"  note = {{Version {__version__}}},",
            "}",
        )
    )
    found: dict[str, Reference] = {}
    for reference in _of(_parts(vae, objective)):
        found.setdefault(reference.key, reference)
    return "\n\n".join([own, *(reference.bibtex() for reference in found.values())])


def _of(parts: Iterable[Any]) -> Iterator[Reference]:
    seen: set[int] = set()
    for part in parts:
        if part is not None and id(part) not in seen:
            seen.add(id(part))
            yield from references(part)
