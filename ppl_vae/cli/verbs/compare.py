"""`ppl-vae compare`: the runs of a sweep ranked, averaged over seeds, and told apart or not."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ppl_vae.cli.fitted import Column, Fitted, number
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.output import Result
from ppl_vae.cli.progress import attempt
from ppl_vae.errors import RunError, UsageError
from ppl_vae.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from ppl_vae.sweeps.compare import Comparison

SHOWN = (
    "test/elbo",
    "test/nll",
    "validation/elbo",
    "validation/nll",
    "test/active_units",
    "validation/active_units",
    "seconds",
    "epochs",
    "best_epoch",
    "validation/bound",
)
"""Figures of a run in the terminal, those that are left out first last."""


def run(cfg: DictConfig, context: Context) -> Result:
    """Write `comparison.{csv,parquet,json,html}` into the sweep's folder, and say how the runs compare."""
    sweep = Sweep.load(cfg.sweep)  # before what takes a while to import: a wrong name is answered at once
    group = _names(cfg.group)

    from ppl_vae.reports.comparison import write_comparison
    from ppl_vae.sweeps.compare import compare
    from ppl_vae.sweeps.gather import gather
    from ppl_vae.sweeps.notes import failures
    from ppl_vae.sweeps.tables import record, write_tables

    found = gather(sweep)
    counts = {str(state): int(n) for state, n in found.states["state"].value_counts().items()}
    made = compare(found, cfg.metric, group, cfg.sort)
    told: dict[str, Any] = {"sweep": str(sweep), "counts": counts, **record(made)}
    if len(made.groups):
        first = made.runs[made.runs["group"] == 1].sort_values(made.metric.name, ascending=not made.metric.up)
        told["best"] = str(sweep.directory / str(first.iloc[0]["run"]))
    files = write_tables(sweep.directory, made, told)
    page = sweep.directory / "comparison.html"
    with attempt("compare", "page"):
        files["page"] = write_comparison(
            page, title=sweep.directory.name, comparison=made, found=found, record=_record(sweep)
        )
    told["files"] = {name: str(path) for name, path in files.items()}
    lines = [*made.notes, *failures(made), *_hints(files), *(f"{name}: {path}" for name, path in files.items())]
    if "best" in told:
        lines.append(f"best: {told['best']}")
    title = f"{sweep.directory.name}: {_counted(counts, len(found.keys))}"
    if not len(made.groups):
        title += "; nothing to rank"
    direction = "highest" if made.metric.up else "lowest"
    by = f"{title}; {direction} {made.metric.name} first (nats per datum)" if len(made.groups) else title
    return Result(record=told, tables=[by, *_tables(made)], lines=lines, made=[told["best"]] if "best" in told else [])


def _record(sweep: Sweep) -> dict[str, Any]:
    """The record of a sweep: its plan's, with the commit and the machine of the first run whose record can be read."""
    plan = sweep.plan
    told: dict[str, Any] = {"command": list(plan.command), "verb": plan.verb, "started": plan.started}
    for run in sweep.runs:
        with contextlib.suppress(RunError):  # damaged, which the comparison says
            return {k: v for k, v in run.record.items() if k in ("git", "machine", "versions")} | told
    return told


def _names(group: Any) -> list[str] | None:
    """The keys of `group=KEY` or `group=[KEY,KEY]`."""
    if group is None:
        return None
    if isinstance(group, str):
        return [group]
    names = OmegaConf.to_container(group) if OmegaConf.is_config(group) else group
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise UsageError(f"group: got {names}, expected keys that differ between the runs: group=[model.latent_dim]")
    return names


def _counted(counts: Mapping[Any, int], jobs: int) -> str:
    finished = counts.get("finished", 0)
    if finished == jobs:
        return f"{jobs} run{'s' * (jobs != 1)}"
    rest = ", ".join(f"{n} {state}" for state, n in counts.items() if state != "finished")
    return f"{finished} of {jobs} jobs finished ({rest})"


def _tables(made: Comparison) -> list[Any]:
    tables: list[Any] = []
    if len(made.groups) > 1 or (len(made.groups) and made.groups["planned"].iloc[0] > 1):
        tables.append(Fitted(_group_columns(made), "comparison.json"))
    return [*tables, Fitted(_run_columns(made), "comparison.csv")]


def _group_columns(made: Comparison) -> list[Column]:
    groups = made.groups

    def cells(name: str) -> list[str]:
        return [number(v) for v in groups[name]]

    def spread(row: Any) -> str:
        return number(row["mean"]) + ("" if row["se"] != row["se"] else f" ± {row['se']:.3f}")

    rows = [row for _, row in groups.iterrows()]
    count = [f"{r['runs']}" if r["runs"] == r["planned"] else f"{r['runs']} of {r['planned']}" for r in rows]
    basis = [Column("basis", cells("basis"))] if groups["basis"].nunique() > 1 else []
    between = [f"[{r['low']:.3f}, {r['high']:.3f}]" if r["over"] else "-" for r in rows]
    title = f"{made.differs_in} to the best" if made.differs_in else "to the best"
    differences = [
        Column(title.replace(" ", "\n", 1), [number(r["difference"]) for r in rows], 4),
        Column("95 % interval", between, 3),
        Column("verdict", cells("verdict"), 2),
    ]
    return [
        Column("group", [str(r["group"]) for r in rows]),
        *(Column(key, [_key(v) for v in groups[key]]) for key in made.by),
        Column("runs", count, 1),
        Column(f"{made.metric.name} ± se", [spread(r) for r in rows]),
        *basis,
        *(differences if len(rows) > 1 else []),
        Column("seconds", [f"{r['seconds']:.1f}" if r["seconds"] == r["seconds"] else "-" for r in rows], 5),
    ]


def _run_columns(made: Comparison) -> list[Column]:
    from ppl_vae.sweeps.tables import whole

    runs = whole(made.runs)
    figures = [c for c in SHOWN if c in runs and c != made.metric.name and runs[c].notna().any()]
    particles = [c for c in runs if c.endswith("/num_particles") and runs[c].nunique() > 1]
    keys = [k for k in made.runs if k in made.key_names]
    state = [] if (runs["status"] == "finished").all() else ["status"]
    order = ["run", *keys, *state, *([made.metric.name] if made.metric.name in runs else []), *particles, *figures]
    ranks = {name: place for place, name in enumerate(figures, 1)}
    return [
        Column(
            "job" if name == "run" else name,
            [_key(v) if name in keys else _short(v, name) for v in runs[name]],
            ranks.get(name, 0),
        )
        for name in order
    ]


def _key(value: Any) -> str:
    """A value as it was typed."""
    return f"{value:g}" if isinstance(value, float) else number(value)


def _short(value: Any, name: str) -> str:
    if name == "seconds" and value is not None and value == value:
        return f"{value:.1f}"
    return number(None if value is not None and value != value else value)


def _hints(files: Mapping[str, Path]) -> list[str]:
    return [] if "parquet" in files else ["no comparison.parquet without pyarrow: pip install 'ppl-vae[parquet]'"]
