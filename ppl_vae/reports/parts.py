"""The parts of a page: sections of diagnostics, each a title, a sentence, figures and an explained table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ppl_vae.reports.hardest import Hard
from ppl_vae.reports.lines import Chart
from ppl_vae.reports.tables import Row


@dataclass(frozen=True)
class Source:
    """The contents that a page is made of, see `html_report`; `alts` says of figures what they show."""

    rows: Sequence[Mapping[str, Any]] = ()
    evaluation: Mapping[str, Any] | None = None
    table: Any = None
    units: Any = None
    hardest: Sequence[Hard] = ()
    diagnostics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ranks: Mapping[str, Any] = field(default_factory=dict)
    posterior: Any = None
    figures: Sequence[str] = ()
    alts: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Part:
    """One diagnostic.

    Attributes:
        anchor: the place in the page that links lead to.
        title: its heading; empty where the section's own says it.
        sentence: what was seen, in numbers.
        charts: drawings.
        pictures: names of figures, each with its text in place of the picture.
        caption: how these are read.
        rows: numbers with their meanings.
        grid: a table of `columns` and `rows`; cells are texts, or pictures as (PNG in base64, text).
        todo: what is missing, with the verb and the words of the command that makes it.
        note: why something is missing.
    """

    anchor: str
    title: str = ""
    sentence: str = ""
    charts: list[Chart] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)
    caption: str = ""
    rows: list[Row] = field(default_factory=list)
    grid: dict[str, Any] | None = None
    todo: tuple[str, str, str] | None = None
    note: str = ""


@dataclass
class Section:
    """A heading with its parts."""

    id: str
    title: str
    parts: list[Part]
