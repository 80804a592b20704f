"""`ppl-vae sweeps`: which sweeps there are, and how far they have come."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ppl_vae.cli.arguments import next_command
from ppl_vae.cli.fitted import Column, Fitted
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.output import Result
from ppl_vae.errors import RunError
from ppl_vae.runs.files import whole_path
from ppl_vae.runs.run import no_such_folder
from ppl_vae.sweeps.plan import Plan
from ppl_vae.sweeps.sweep import STATES, Sweep, count, started, sweeps, whole


def run(cfg: DictConfig, context: Context) -> Result:
    """List the sweeps in a folder and below, oldest first."""
    root = whole_path(cfg.dir, "dir")
    if not root.is_dir():
        if cfg.dir == "outputs":
            raise RunError(f"there are no outputs in {root.parent}; name another folder: dir=DIR")
        raise no_such_folder("dir", cfg.dir, root)
    rows = [_row(sweep) for sweep in sweeps(root)]
    record = {"dir": str(root), "sweeps": rows}
    if not rows:
        return Result(record=record, lines=[f"no sweeps in {root}; make one with: ppl-vae train -m key=1,2"])
    left = [row for row in rows if row["state"] in ("interrupted", "missing", "failed") and row["verb"] == "train"]
    lines = [f"go on with the rest: {next_command('train -m', resume=row['sweep'])}" for row in left[-1:]]
    return Result(record=record, tables=[_table(rows, root)], lines=lines, made=[row["sweep"] for row in rows])


def _row(sweep: Sweep) -> dict[str, Any]:
    """The row of a sweep; a damaged one tells so."""
    try:
        plan, jobs = sweep.plan, sweep.jobs
    except RunError as error:
        return {"sweep": str(sweep), "state": "damaged", "error": str(error), "verb": "", "command": "", "jobs": None,
                "started": ""}  # fmt: skip
    return {
        "sweep": str(sweep),
        "state": whole(jobs),
        "jobs": len(jobs),
        "complete": plan.complete,
        **{state: count(jobs).get(state, 0) for state in STATES},
        "started": started(sweep.directory),
        "verb": plan.verb,
        "varying": list(plan.varying),
        "command": _command(plan),
        "started_in": plan.started_in,
    }


def _command(plan: Plan) -> str:
    """The command line from its verb on, whichever way Python was started."""
    words = plan.command[plan.command.index(plan.verb) :] if plan.verb in plan.command else ()
    return shlex.join(["ppl-vae", *(words or (plan.verb, "-m", *plan.overrides))])


def _table(rows: list[dict[str, Any]], root: Path) -> Fitted:
    return Fitted(
        [
            Column("sweep", [str(Path(row["sweep"]).relative_to(root)) for row in rows]),
            Column("date", [_date(row["started"]) for row in rows], 2),
            Column("state", [_state(row) for row in rows]),
            Column("jobs", [_jobs(row) for row in rows], 1),
            Column("varying", [" ".join(row.get("varying", ())) or "-" for row in rows], 3),
            Column("command", [row["command"] for row in rows], 4),
        ],
        "format=json",
    )


def _date(started: str) -> str:
    return datetime.fromisoformat(started).astimezone().strftime("%Y-%m-%d %H:%M") if started else "-"


def _state(row: dict[str, Any]) -> str:
    told = ", ".join(f"{row[s]} {s}" for s in STATES if row.get(s) and row[s] != row["jobs"])
    return str(row.get("error") or (f"{row['state']}: {told}" if told else row["state"]))


def _jobs(row: dict[str, Any]) -> str:
    return "-" if row["jobs"] is None else str(row["jobs"]) if row["complete"] else f"{row['jobs']} so far"
