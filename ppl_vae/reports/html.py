"""One self-contained HTML page about one run."""

import base64
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ppl_vae.errors import ArgumentError
from ppl_vae.kinds import shown
from ppl_vae.reports import tables
from ppl_vae.reports.figures import learning_curves, pareto_k_histogram
from ppl_vae.reports.style import render
from ppl_vae.runs.files import write_atomically
from ppl_vae.version import __version__

PLACED = (
    "learning_curves",
    "samples",
    "sample_marginals",
    "reconstructions",
    "traversals",
    "latent_map",
    "kl_per_unit",
    "pareto_k",
)
"""Figures that have a place of their own on the page."""

NOTED = (*PLACED, "latents")
"""The parts of a page whose absence a note may tell."""

TITLES: Mapping[str, str] = {
    "ais": "Annealed importance sampling",
    "calibration": "Simulation-based calibration",
    "checks": "Predictive checks",
    "disentanglement": "Disentanglement",
    "gaps": "Approximation and amortization gap",
    "latents": "Information in the codes",
    "probe": "Linear probe of the labels",
    "samples": "Samples against data",
}

CAPTIONS: Mapping[str, str] = {
    "calibration": "Ranks of the true latents of simulated data among the guide's draws: within the band, the guide is "
    "calibrated on data that the model makes.",
    "checks": "Where statistics of the data rank among those of data that the model makes: within the band, the model "
    "has their distribution right.",
    "derived": "The guide's latents in the order of draws: a dot joins what is above it to what is on its right, "
    "which sees it.",
    "information": "A unit's KL is what it tells of the data, plus what keeps all codes together from looking like the "
    "prior: the second part makes samples worse than reconstructions.",
    "gaps": "What the guide loses against log p(x), datum by datum: to its family, and to its network.",
}


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
    diagnostics: Mapping[str, Mapping[str, Any]] | None = None,
    posterior: Any = None,
    environment: Mapping[str, Any] | None = None,
    notes: Mapping[str, str] | None = None,
) -> str:
    """Compose the page; whatever is missing is answered with the command that makes it.

    Args:
        title: name of the run.
        config: the text of `config.yaml`, or the same as a mapping.
        run: path of the run directory, for the commands to copy.
        status: `finished`, `running`, `interrupted` or `failed`.
        error: what ended a failed run.
        subtitle: a line under the title.
        result: named results of training.
        rows: the lines of `metrics.jsonl`.
        figures: by name: `samples` or `sample_marginals`, `reconstructions`, `traversals`, `latent_map`,
            `kl_per_unit`, as figures or PNG bytes. Learning curves and k̂ are drawn here; others, such as
            `calibration` or `gaps`, follow the evaluation.
        evaluation: `Evaluation.summary`.
        table: `Evaluation.table`, a data frame with a row per datum.
        diagnostics: results of `calibrate` and of further scores, by name.
        posterior: a data frame as `az.summary` gives it.
        environment: versions, machine, git, times.
        notes: for `samples`, `reconstructions`, `latents` or one of its figures: why there is no figure.

    Returns:
        HTML that loads nothing from anywhere. All text is escaped.
    """
    import jinja2

    for name, frame in {"table": table, "posterior": posterior}.items():
        if frame is not None and not hasattr(frame, "columns"):
            raise ArgumentError(f"Got {name}={shown(frame)}, expected a data frame.")
    drawn: dict[str, Figure | bytes] = dict(figures or {})
    told = dict.fromkeys(NOTED, "") | dict(notes or {})
    if rows:
        _add(drawn, told, "learning_curves", lambda: learning_curves(rows))
    if table is not None and "pareto_k" in table and table["pareto_k"].notna().any():
        _add(drawn, told, "pareto_k", lambda: pareto_k_histogram(table["pareto_k"]))
    environment_of_templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment_of_templates.get_template("report.html.j2").render(
        title=title,
        run=shlex.quote(os.fspath(run)),
        status=status,
        error=error,
        subtitle=subtitle,
        tiles=tables.tiles(rows, evaluation),
        results=[(k, tables.text(v)) for k, v in tables.flatten(result or {})],
        figures={name: _inline(figure) for name, figure in drawn.items()},
        evaluation=tables.evaluation(evaluation),
        verdict=tables.verdict(evaluation),
        further=[name for name in drawn if name not in PLACED],
        captions=CAPTIONS,
        diagnostics=[
            (name, TITLES.get(name, name), [(k, tables.text(v)) for k, v in tables.flatten(part)])
            for name, part in (diagnostics or {}).items()
        ],
        worst=tables.worst(table),
        posterior=tables.posterior(posterior),
        config=config if isinstance(config, str) else _yaml(config),
        environment=[(k, tables.text(v)) for k, v in tables.flatten(environment or {})],
        notes=told,
        version=__version__,
    )


def _add(drawn: dict[str, Figure | bytes], notes: dict[str, str], name: str, draw: Callable[[], Figure]) -> None:
    """Draw one of the page's own figures: where that fails, a note says so and the page stands."""
    try:
        drawn[name] = draw()
    except Exception as error:
        notes[name] = f"{type(error).__name__}: {error}"


def write_report(path: str | os.PathLike[str], **parts: Any) -> Path:
    """Write `html_report(**parts)` to a file, whole or not at all."""
    write_atomically(path, html_report(**parts))
    return Path(path)


def _inline(figure: Figure | bytes, dpi: int = 170) -> dict[str, Any]:
    data = figure if isinstance(figure, bytes) else render(figure, dpi=dpi)
    width = int.from_bytes(data[16:20], "big")  # a PNG says its width in its first chunk
    return {"data": base64.b64encode(data).decode("ascii"), "width": round(width * 100 / dpi)}


def _yaml(config: Mapping[str, Any]) -> str:
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(dict(config)))
