"""One self-contained HTML page about one run."""

import os
import shlex
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ppl_vae.diagnostics.judgements import judgements
from ppl_vae.errors import ArgumentError
from ppl_vae.kinds import shown
from ppl_vae.reports import provenance, tables
from ppl_vae.reports.embedded import embedded
from ppl_vae.reports.findings import KNOWN
from ppl_vae.reports.hardest import Hard
from ppl_vae.reports.parts import Source
from ppl_vae.reports.sections import sections
from ppl_vae.runs.files import write_atomically
from ppl_vae.version import __version__

LONGEST = 60_000
"""Letters of a config, or of what a run failed with, that a page holds at most."""


def html_report(
    *,
    title: str,
    config: str | Mapping[str, Any] = "",
    run: str | os.PathLike[str] = "DIR",
    status: str = "",
    error: str = "",
    subtitle: str = "",
    result: Mapping[str, Any] | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
    figures: Mapping[str, Figure | bytes] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    table: Any = None,
    units: Any = None,
    hardest: Sequence[Hard] = (),
    diagnostics: Mapping[str, Mapping[str, Any]] | None = None,
    ranks: Mapping[str, Any] | None = None,
    posterior: Any = None,
    environment: Mapping[str, Any] | None = None,
    notes: Mapping[str, str] | None = None,
) -> str:
    """Compose the page; whatever is missing is answered with the command that makes it.

    It begins with what can be trusted, in words (`ppl_vae.diagnostics.judgements`), and where the run comes from. Then
    each diagnostic has a title, a sentence with this run's numbers, a figure, and a table that says what they mean.

    Args:
        title: name of the run.
        config: the text of `config.yaml`, or the same as a mapping.
        run: path of the run directory, for the commands to copy.
        status: `finished`, `running`, `interrupted` or `failed`.
        error: what ended a failed run.
        subtitle: a line under the title.
        result: named results of training.
        rows: the lines of `metrics.jsonl`.
        figures: by name: `samples` or `sample_marginals`, `reconstructions`, `traversals`, `latent_map`, and those of
            diagnostics, as figures or PNG bytes. Learning curves, k̂ and the KL of units are drawn here.
        evaluation: `Evaluation.summary`.
        table: `Evaluation.table`, a data frame with a row per datum.
        units: `Evaluation.units`, a data frame with a row per latent unit.
        hardest: the hardest of these data beside their reconstructions.
        diagnostics: results of `calibrate` and of further scores, by name.
        ranks: `Calibration.ranks`, drawn in place of figures of them.
        posterior: a data frame as `az.summary` gives it.
        environment: what `run.json` says: command, git, machine, versions, times.
        notes: for `samples`, `reconstructions`, `latents` or one of its figures: why there is no figure.

    Returns:
        HTML of less than a megabyte that loads nothing from anywhere. All text is escaped.
    """
    import jinja2

    for name, frame in {"table": table, "units": units, "posterior": posterior}.items():
        if frame is not None and not hasattr(frame, "columns"):
            raise ArgumentError(f"Got {name}={shown(frame)}, expected a data frame.")
    here = Path(__file__).parent
    environment_of_templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, undefined=jinja2.StrictUndefined
    )
    source = Source(
        rows=rows,
        evaluation=evaluation,
        table=table,
        units=units,
        hardest=hardest,
        diagnostics=diagnostics or {},
        ranks=ranks or {},
        posterior=posterior,
        figures=tuple(figures or {}),
        alts={name: _described(figure) for name, figure in (figures or {}).items()},
        notes=notes or {},
    )
    return environment_of_templates.get_template("report.html.j2").render(
        title=title,
        run=shlex.quote(os.fspath(run)),
        status=status,
        error=_cut(error, "error.txt"),
        ended=_ended(error)[:1000],
        subtitle=subtitle,
        judgements=judgements(evaluation, diagnostics),
        tiles=tables.tiles(rows, evaluation),
        results=[(k, tables.text(v)) for k, v in tables.flatten(result or {})],
        provenance=provenance.provenance(environment or {}),
        versions=provenance.versions(environment or {}),
        figures=embedded(figures or {}),
        drawings={name for name, figure in (figures or {}).items() if _is_drawing(name, figure)},
        sections=sections(source),
        config=_cut(config if isinstance(config, str) else _yaml(config), "config.yaml"),
        script=(here / "chart.js").read_text(encoding="utf-8"),
        version=__version__,
    )


def write_report(path: str | os.PathLike[str], **parts: Any) -> Path:
    """Write `html_report(**parts)` to a file, whole or not at all."""
    write_atomically(path, html_report(**parts))
    return Path(path)


def _ended(traceback: str) -> str:
    """The message that a traceback ends with: all after its last indented line."""
    lines = traceback.strip().splitlines()
    last = max((i for i, line in enumerate(lines) if line.startswith(" ")), default=-1)
    return " ".join(lines[last + 1 :])


def _is_drawing(name: str, figure: Figure | bytes) -> bool:
    """True of lines on white, which may be turned to light on dark; pictures of data may not."""
    if isinstance(figure, bytes):
        return any(told.figures and fnmatchcase(name, told.figures) for told in KNOWN.values())
    return not any(axes.images for axes in figure.axes)


def _described(figure: Figure | bytes) -> str:
    """The titles and axes of a figure, in words."""
    if isinstance(figure, bytes):
        return ""
    told = [figure.get_suptitle()]
    for axes in figure.axes:
        titles = [axes.get_title(loc) for loc in ("left", "center", "right")]
        names = [f"{way}: {name}" for way, name in (("across", axes.get_xlabel()), ("up", axes.get_ylabel())) if name]
        told.append(", ".join([*filter(None, titles), *names]))
    return "; ".join(dict.fromkeys(filter(None, told)))[:600]


def _cut(text: str, name: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n… the rest is in {name}"


def _yaml(config: Mapping[str, Any]) -> str:
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(dict(config)))
