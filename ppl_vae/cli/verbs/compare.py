"""`ppl-vae compare`: the runs of a sweep side by side."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ppl_vae.cli.hydra import Context
from ppl_vae.cli.output import Result
from ppl_vae.config.schema import near
from ppl_vae.errors import RunError
from ppl_vae.runs.files import whole_path, write_atomically
from ppl_vae.runs.loggers import flat
from ppl_vae.runs.run import Run, children, is_run

EVALUATED = ("elbo", "nll", "active_units")
SHOWN = (
    "validation/bound",
    *(f"{part}/{k}" for part in ("test", "validation", "train") for k in EVALUATED if (part, k) != ("train", "elbo")),
    "epochs",
    "best_epoch",
)


def run(cfg: DictConfig, context: Context) -> Result:
    """Write `comparison.csv` and `comparison.html` into the sweep's folder: the keys that differ, and the results."""
    sweep = _find(cfg.sweep)  # before what takes a while to import: a wrong name is answered at once

    import pandas as pd
    from rich import box
    from rich.table import Table

    rows = [_row(Run(path)) for path in children(sweep)]
    rows.sort(key=lambda r: (r["result"].get("validation/bound") is None, -(r["result"].get("validation/bound") or 0)))
    keys = _differing([r["config"] for r in rows])
    results = [k for k in SHOWN if any(k in r["result"] for r in rows)]
    frame = pd.DataFrame(
        [
            {"run": r["run"], "status": r["status"]}
            | {k: r["config"].get(k) for k in keys}
            | {k: r["result"].get(k) for k in results}
            for r in rows
        ],
        dtype=object,  # counts stay whole numbers beside jobs that failed and have none
    )
    write_atomically(sweep / "comparison.csv", frame.to_csv(index=False))
    write_atomically(sweep / "comparison.html", _page(sweep, frame))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in frame:
        table.add_column(re.sub(r"[/_]|(?<=\.)", "\n", str(column)), overflow="fold")
    for values in frame.itertuples(index=False):
        table.add_row(*(_text(v) for v in values))
    finished = frame[frame.status == "finished"]
    title = f"{sweep.name}: {len(rows)} run{'s' * (len(rows) != 1)}, best first (nats per datum)"
    lines = [f"table: {sweep / 'comparison.csv'}", f"page: {sweep / 'comparison.html'}"]
    if len(finished):
        lines.append(f"best: {sweep / str(finished.run.iloc[0])}")
    record = {"sweep": str(sweep), "runs": frame.astype(object).where(frame.notna(), None).to_dict("records")}
    return Result(record=record, tables=[title, table], lines=lines)


def _find(name: str) -> Path:
    path = whole_path(name, "sweep")
    if children(path):
        return path
    if is_run(path):
        hint = f"; its sweep is sweep={path.parent}" if len(children(path.parent)) > 1 else ""
        raise RunError(f"sweep={name}: this is a single run, expected the folder of a sweep{hint}")
    if not path.is_dir():
        siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        raise RunError(f"sweep={name}: there is no such folder; {near(path.name, siblings[:20])}")
    raise RunError(f"sweep={name}: no runs in this folder, expected that of `ppl-vae train -m …`, with 0, 1, … inside")


def _row(run: Run) -> dict[str, Any]:
    from ppl_vae.cli.artifacts import latest_evaluation

    record = run.record
    try:
        config = {k: v for k, v in flat(run.plain_config).items() if not k.startswith(("spec.", "provenance."))}
    except RunError:
        config = {}  # refused before its config was written
    result = dict(record.get("result") or {})
    evaluation, _ = latest_evaluation(run)
    if evaluation:
        result |= {f"{evaluation['split']}/{k}": evaluation[k] for k in EVALUATED}
    return {"run": run.directory.name, "status": run.status, "config": config, "result": result}


def _differing(configs: list[dict[str, Any]]) -> list[str]:
    told = [c for c in configs if c]
    keys = dict.fromkeys(k for c in told for k in c)
    return [k for k in keys if len({str(c.get(k)) for c in told}) > 1]


def _text(value: Any) -> str:
    if value is None or value != value:
        return "-"
    if isinstance(value, float):
        return f"{value:g}" if value.is_integer() else f"{value:.3f}"
    return str(value)


def _page(sweep: Path, frame: Any) -> str:
    title = html.escape(sweep.name)
    style = (
        "body{font:15px sans-serif;margin:2em}table{border-collapse:collapse}"
        "td,th{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:right}"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{style}</style>"
        f"<h1>{title}</h1><p>{len(frame)} runs, best first; nats per datum.</p>"
        f"{frame.to_html(index=False, border=0, float_format='{:.3f}'.format, na_rep='-')}</html>\n"
    )
