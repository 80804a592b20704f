"""One self-contained HTML page about a sweep: groups, runs, curves, and what told them apart."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ppl_vae.reports import provenance
from ppl_vae.reports.comparison_verdict import verdict
from ppl_vae.runs.files import jsonable, write_atomically
from ppl_vae.version import __version__

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.sweeps.compare import Comparison
    from ppl_vae.sweeps.gather import Gathered

POINTS = 150
"""Epochs of a learning curve that are drawn at most."""


def comparison_page(
    *,
    title: str,
    comparison: Comparison,
    found: Gathered,
    root: Path | None = None,
    record: Mapping[str, Any] | None = None,
) -> str:
    """Compose the page; it loads nothing from anywhere, and all text is escaped.

    The tables are HTML; sorting, filtering and the drawings are a script of its own, which reads its numbers from a
    block of JSON in the page.

    Args:
        title: name of the sweep.
        comparison: what `compare` made.
        found: what `gather` read, for the learning curves.
        root: the sweep's folder: a run is linked to its report where it has one there.
        record: what is known of the sweep: its command, commit, machine, versions, when it was started.
    """
    import jinja2

    from ppl_vae.sweeps.notes import failures

    made = comparison
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined
    )
    names = _short(made.key_names)
    groups = [_group(row, made, names) for _, row in made.groups.iterrows()]
    runs = [_run(int(job), row, made, root) for job, row in made.runs.iterrows()]
    curve, curves = _curves(made, found)
    data = {
        "metric": {"name": made.metric.name, "up": made.metric.up},
        "keys": [{"name": k, "short": names[k]} for k in made.key_names],
        "groups": [{**g, "cells": None} for g in groups],
        "runs": [{k: r[k] for k in ("job", "title", "group", "values", "value", "seconds", "front")} for r in runs],
        "curve": curve,
        "curves": curves,
        "importance": jsonable(made.importance.reset_index().to_dict("records")),
        "differs": made.differs_in,
    }
    states = {str(k): int(v) for k, v in found.states["state"].value_counts().items()}
    sentence = _sentence(made, groups)
    return environment.get_template("comparison.html.j2").render(
        title=title,
        comparison=made,
        sentence=sentence,
        judgements=verdict(made, sentence, states),
        provenance=provenance.sweep(record or {}),
        versions=provenance.versions(record or {}),
        failures=failures(made),
        states=states,
        groups=groups,
        group_columns=_group_columns(made, names),
        runs=runs,
        run_columns=_run_columns(made),
        payload=_script_safe(data),
        reading=(folder / "chart.js").read_text(encoding="utf-8"),
        script=(folder / "comparison.js").read_text(encoding="utf-8"),
        version=__version__,
    )


def write_comparison(path: str | os.PathLike[str], **parts: Any) -> Path:
    """Write `comparison_page(**parts)` beside the runs that it links to, whole or not at all."""
    write_atomically(path, comparison_page(**parts, root=Path(path).parent))
    return Path(path)


def _script_safe(data: Any) -> str:
    """JSON that ends no script and opens no comment, whatever texts it holds."""
    told = json.dumps(jsonable(data), allow_nan=False, ensure_ascii=True)
    return told.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _short(keys: tuple[str, ...]) -> dict[str, str]:
    """Names of keys without their group, where that leaves them different."""
    last = [k.rsplit(".", 1)[-1] for k in keys]
    return {k: short if last.count(short) == 1 else k for k, short in zip(keys, last, strict=True)}


def _label(row: Mapping[str, Any], made: Comparison, names: Mapping[str, str]) -> str:
    telling = [k for k in made.by if made.groups[k].map(str).nunique() > 1] or made.by
    told = ", ".join(f"{names[k]} {_typed(row[k])}" for k in telling)
    return told or "all runs"


def _typed(value: Any) -> str:
    """A value of a key as it was typed."""
    return f"{value:g}" if isinstance(value, float) else "–" if value is None else str(value)


def _group(row: Any, made: Comparison, names: Mapping[str, str]) -> dict[str, Any]:
    numbers = {k: row[k] for k in ("mean", "se", "seconds", "difference", "low", "high")}
    return {
        "group": int(row["group"]),
        "label": _label(row, made, names),
        "verdict": row["verdict"],
        "front": bool(row["front"]),
        **jsonable({k: float(v) for k, v in numbers.items()}),
        "cells": [
            *(_cell(row[c], key=True) for c in made.by),
            *(_cell(row[c]) for c in ("runs", "mean", "se")),
            *(_cell(row[c]) for c in ("difference", "low", "high") if made.differs_in),
            _seconds(row["seconds"]),
        ],
        "count": f"{row['runs']}" if row["runs"] == row["planned"] else f"{row['runs']} of {row['planned']}",
        "over": row["over"],
        "basis": row["basis"],
    }


def _cell(value: Any, *, key: bool = False) -> dict[str, Any]:
    """A value as it is shown, and as it is sorted by."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return {"text": "–", "value": "", "number": True}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        whole = key or not isinstance(value, float) or float(value).is_integer()
        shown = f"{value:.10g}" if whole else f"{value:,.3f}" if abs(value) >= 5e-4 else f"{value:.2g}"
        return {"text": shown.replace("-", "−", 1), "value": repr(float(value)), "number": True}
    return {"text": str(value), "value": str(value), "number": False}


def _seconds(value: float) -> dict[str, Any]:
    cell = _cell(float(value))
    return cell if not cell["value"] else {**cell, "text": f"{value:,.1f}"}


def _group_columns(made: Comparison, names: Mapping[str, str]) -> list[str]:
    differences = [f"{made.differs_in} to the best", "from", "to"] if made.differs_in else []
    return [*(names[k] for k in made.by), "runs", made.metric.name, "± se", *differences, "seconds"]


def _run_columns(made: Comparison) -> list[str]:
    """The figures that the page shows of runs: those that tell something."""
    runs = made.runs
    shown = [made.metric.name, "test/elbo", "test/nll", "test/num_particles", "validation/elbo", "validation/nll"]
    shown += ["test/kl", "test/active_units", "validation/bound", "epochs", "best_epoch", "seconds"]
    there = [c for c in dict.fromkeys(shown) if c in runs and runs[c].notna().any()]
    there = [c for c in there if not c.endswith("num_particles") or runs[c].nunique() > 1]
    return [*made.key_names, *there]


def _run(job: int, row: Any, made: Comparison, root: Path | None) -> dict[str, Any]:
    place = str(row["run"])
    report = f"{place}/report.html"
    there = bool(place) and root is not None and not Path(place).is_absolute() and (root / report).is_file()
    group = row["group"]
    told = " ".join(f"{k}={_typed(row[k])}" for k in made.key_names if row[k] is not None)
    value = row.get(made.metric.name)
    return {
        "job": job,
        "title": f"job {job}" + (f": {told}" if told else ""),
        "status": str(row["status"]),
        "group": None if group is None else int(group),
        "front": bool(row["front"]),
        "href": quote(report) if there else None,
        "values": {k: jsonable(row[k]) for k in made.key_names},
        "value": jsonable(value),
        "seconds": jsonable(row.get("seconds")),
        "cells": [
            _seconds(row[c]) if c == "seconds" else _cell(row[c], key=c in made.key_names) for c in _run_columns(made)
        ],
    }


def _curves(made: Comparison, found: Gathered) -> tuple[str, dict[str, list[list[float]]]]:
    """The metric epoch by epoch, or the validation ELBO where it is not one of training's."""
    names = [made.metric.name, "validation/elbo", "train/elbo"]
    name = next((n for n in names if any(n in c for c in found.curves.values())), "")
    curves: dict[str, list[list[float]]] = {}
    for job, frame in found.curves.items():
        if name not in frame or "epoch" not in frame:
            continue
        rows = frame[["epoch", name]].astype(float).dropna()
        step = max(1, math.ceil(len(rows) / POINTS))
        kept = rows.iloc[::step]
        if len(rows) and (len(rows) - 1) % step:
            kept = _with_last(kept, rows)
        curves[str(job)] = [[float(e), round(float(v), 5)] for e, v in kept.to_numpy() if math.isfinite(v)]
    return name, curves


def _with_last(kept: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.concat([kept, rows.iloc[-1:]])


def _sentence(made: Comparison, groups: list[dict[str, Any]]) -> str:
    """The outcome in words."""
    if not groups:
        return "No run has finished, so there is nothing to rank."
    best = groups[0] if len(groups) == 1 else next(g for g in groups if g["group"] == 1)
    spread = f" ± {_cell(best['se'])['text']}" if best["se"] is not None else ""
    told = f"{made.metric.name} {_cell(best['mean'])['text']}{spread} nats per datum"
    if made.metric.short in ("seconds", "active_units", "ess") or made.metric.short.startswith("pareto"):
        told = told.removesuffix(" nats per datum")
    if len(groups) == 1:
        return f"{best['label'].capitalize()}: {told}."
    apart = sum(g["verdict"].startswith(("worse", "better")) for g in groups)
    alike = sum(g["verdict"] == "not told apart" for g in groups)
    rest = len(groups) - 1 - apart - alike
    by = f"told apart from it by {made.differs_in or made.metric.name}"
    if len(groups) == 2:
        return f"Best: {best['label']}, {told}; the other one is {'' if apart else 'not '}{by}."
    parts = [f"{apart} of the other {len(groups) - 1} {by}"]
    parts += [f"{alike} not told apart"] if alike else []
    parts += [f"{rest} without an interval"] if rest else []
    return f"Best: {best['label']}, {told}; {', '.join(parts)}."
