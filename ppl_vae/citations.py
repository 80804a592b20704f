"""BibTeX for the parts a pair is made of: `references.bib` holds each work once, docstrings refer to it.

A part (a class or a function, ours or a user's) names what it implements in a section of its docstring. An entry
begins a line, and goes on in lines that are indented further; it may end with a place (", section 5.1").

References:
    Bingham et al. (2019), Pyro: Deep Universal Probabilistic Programming, https://jmlr.org/papers/v20/18-403.html
"""

import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppl_vae.version import __version__

_SECTION = re.compile(r"^( *)References?:[ \t]*\n((?:\1[ \t]+\S.*\n?|[ \t]*\n)+)", re.MULTILINE)
_ENTRY = re.compile(
    r"(?P<authors>[^()]+) \((?P<year>\d{4})\), (?P<title>.+?)(, (?P<url>https?://\S+?))?"
    r"(, (sections?|chapters?|pages?|tables?|figures?|equations?|appendix|algorithm) .+?)?\.?"
)


@dataclass(frozen=True)
class Work:
    """A paper, a data set or a program, with the fields of its BibTeX entry.

    Example:
        >>> print(works()["burda2016importance"])
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519
        >>> print(Work.from_bibtex(works()["neal2001annealed"].bibtex()).title)
        Annealed Importance Sampling
    """

    kind: str
    key: str
    fields: dict[str, str]

    @classmethod
    def from_bibtex(cls, text: str) -> "Work":
        """Read an entry as `bibtex` writes it: one field a line."""
        kind, key = re.findall(r"^@(\w+)\{(\w+),$", text, re.MULTILINE)[0]
        return cls(kind, key, dict(re.findall(r"^  (\w+) = \{(.*)\},$", text, re.MULTILINE)))

    @classmethod
    def from_entry(cls, text: str) -> "Work | None":
        """The work that an entry of a docstring names, from `references.bib` if it is there; None if it names none."""
        match = _ENTRY.fullmatch(text)
        if match is None:
            return None
        title, url = match["title"], match["url"] or ""
        for work in works().values():
            if work.title.casefold() == title.casefold() or (url and work.url == url):
                return work
        names = re.split(r",? (?:and|&) |, ", re.sub(r",? et al\.", " and others", match["authors"]))
        word = next((w for w in re.findall(r"[a-z]+", title.lower()) if w not in ("a", "an", "the", "on")), "")
        author = " and ".join(f"{{{name}}}" if " " in name else name for name in names)
        fields = {"author": author, "title": f"{{{title}}}", "year": match["year"], "url": url}
        first = re.sub(r"[^a-z]", "", names[0].split()[-1].lower())
        return cls("misc", first + match["year"] + word, {name: value for name, value in fields.items() if value})

    @property
    def title(self) -> str:
        """Its title, without the braces that keep its capitals."""
        return self.fields["title"].strip("{}")

    @property
    def url(self) -> str:
        """Its address; empty if that is not known."""
        return self.fields.get("url", "")

    def __str__(self) -> str:
        """The work as docstrings refer to it: of more than four authors the first."""
        names = [name.split(",")[0].strip("{}") for name in self.fields["author"].split(" and ")]
        if len(names) > 4 or names[-1] == "others":
            who = f"{names[0]} et al."
        else:
            who = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
        return ", ".join(filter(None, (f"{who} ({self.fields['year']})", self.title, self.url)))

    def bibtex(self) -> str:
        """Its entry in BibTeX."""
        lines = (f"  {name} = {{{value}}}," for name, value in self.fields.items())
        return "\n".join((f"@{self.kind}{{{self.key},", *lines, "}"))


@functools.cache
def works() -> dict[str, Work]:
    """Every work of `references.bib` by its key."""
    text = Path(__file__).with_name("references.bib").read_text(encoding="utf-8")
    return {work.key: work for work in map(Work.from_bibtex, text.split("\n\n"))}


def entries(docstring: str) -> Iterator[str]:
    """Each entry under `References:` in a docstring, on one line."""
    for section in _SECTION.finditer(inspect.cleandoc(docstring) + "\n"):
        for entry in re.split(r"\n(?=\S)", textwrap.dedent(section[2]).strip()):
            yield " ".join(entry.split())


def _parts(vae: Any, objective: Any) -> Iterator[Any]:
    yield sys.modules[__name__]
    for holder in (vae, objective):
        modules = list(holder.modules()) if hasattr(holder, "modules") else [holder]
        yield from modules
        for module in modules:  # programs that are functions, and what a part is configured with
            values = vars(module).values() if hasattr(module, "__dict__") else ()
            yield from (value for value in values if inspect.isfunction(value))
    yield from (getattr(vae, "estimators", None) or {}).values()
    for known in getattr(vae, "prepared", {}).values():  # the estimators that sites take by default
        yield from known.estimators.values()


def citation(vae: Any, objective: Any = None) -> str:
    r"""BibTeX for a pair and its objective: this package, Pyro, and the works its parts refer to.

    Args:
        vae: the pair; its networks, estimators and programs, yours too, are asked for their docstrings.
        objective: what it was trained with, if it is to be cited as well.

    Returns:
        Entries; one of yours that cannot be read is a comment at the end.

    Example:
        >>> import torch
        >>> class Network(torch.nn.Module):
        ...     '''A network.
        ...
        ...     References:
        ...         Rezende, Mohamed and Wierstra (2014), Stochastic Backpropagation, https://arxiv.org/abs/1401.4082
        ...     '''
        >>> print(citation(Network()).split("\n\n")[-1])
        @misc{rezende2014stochastic,
          author = {Rezende and Mohamed and Wierstra},
          title = {{Stochastic Backpropagation}},
          year = {2014},
          url = {https://arxiv.org/abs/1401.4082},
        }
    """
    own = {
        "author": "{The ppl_vae developers}",
        "title": "{ppl_vae: variational autoencoders as Pyro model/guide pairs}",
        "note": f"Version {__version__}",
    }
    cited, unread = {"ppl_vae": Work("misc", "ppl_vae", own)}, {}
    for part in _parts(vae, objective):
        named = inspect.isclass(part) or inspect.isroutine(part) or inspect.ismodule(part)
        documented = part if named else type(part)
        for entry in entries(documented.__doc__ or ""):
            work = Work.from_entry(entry)
            if work is None:
                unread[entry] = f"% Got {entry!r}, expected `Authors (year), Title, https://…`: it is not cited."
            else:
                cited.setdefault(work.key, work)
    return "\n\n".join((*(work.bibtex() for work in cited.values()), *unread.values()))
