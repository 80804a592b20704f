"""The results of a sweep's jobs as frames with a row a job: keys, figures, states, curves, figures per datum."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppl_vae import files
from ppl_vae.display import Displayed, View, few
from ppl_vae.errors import RunError
from ppl_vae.files.manifest import MANIFEST
from ppl_vae.runs.plain import parse
from ppl_vae.runs.recorder import BESIDE, CONFIG, RECORD, read_json, read_text
from ppl_vae.runs.run import Run
from ppl_vae.runs.tables import read_csv
from ppl_vae.sweeps.sweep import Job, Sweep

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("test", "validation", "train")
_NO_KEYS = ("spec.", "provenance.", "name", "format", "quiet", "results.", "logger", "resume")


@dataclass(frozen=True, repr=False)
class Gathered(Displayed):
    """The jobs of a sweep, by number.

    Attributes:
        keys: what they were told differently, `seed` too, typed as in their configs; None where a job was not told it.
        figures: numbers, NaN where a job has not got one: `validation/elbo`, `test/nll`, …, nats per datum; `seconds`.
        states: `state`, `run` (its folder in the sweep's), `reason` (what it failed with), `no_evidence` (why its pair
            has no ELBO).
        curves: the epochs of each job that has some.
        tables: per job the figures per datum of the test data.
        data: the identity of these test data; jobs of one identity were evaluated on the same data.
        damaged: what was left out of these, as it is not what was written, in sentences.
    """

    keys: pd.DataFrame
    figures: pd.DataFrame
    states: pd.DataFrame
    curves: dict[int, pd.DataFrame]
    tables: dict[int, pd.DataFrame]
    data: dict[int, str]
    damaged: tuple[str, ...] = ()

    def _view(self) -> View:
        states = self.states["state"].value_counts().items()
        told = ", ".join(f"{n} {state}" for state, n in states)
        keys = f"keys that differ: {few(self.keys.columns)}"
        return View(f"Gathered({len(self.keys)} jobs: {told})", notes=[keys, *self.damaged])


def gather(sweep: Sweep) -> Gathered:
    """Read a sweep; what is torn or missing is left out of the frames, never a job."""
    import pandas as pd

    jobs = sweep.jobs
    damaged = [
        f"{path.parent / RECORD} is not there any more, expected the record of a run; restore it from a copy"
        for path in sorted(sweep.directory.glob(f"*/{MANIFEST}"))
        if not (path.parent / RECORD).is_file()
    ]
    configs = {job.number: _config(job, damaged) for job in jobs}
    number = pd.Index([job.number for job in jobs], name="job")
    figures, states, curves, tables, data = [], [], {}, {}, {}
    for job in jobs:
        curve = _curve(job.run, damaged)
        found, summary = _figures(job, curve, damaged)
        figures.append(found)
        states.append(
            {
                "state": job.state,
                "run": _place(job, sweep.directory),
                "reason": (job.error or "").strip() or None,
                "no_evidence": summary.get("reason"),
            }
        )
        if len(curve):
            curves[job.number] = curve
        table, identity = _table(job.run, damaged)
        if table is not None:
            tables[job.number], data[job.number] = table, identity
    keys = _keys(jobs, configs)
    return Gathered(
        keys=pd.DataFrame(
            {k: [_value(job, configs[job.number], k) for job in jobs] for k in keys}, index=number, dtype=object
        ),
        figures=pd.DataFrame(figures, index=number).astype(float),
        states=pd.DataFrame(states, index=number, columns=["state", "run", "reason", "no_evidence"], dtype=object),
        curves=curves,
        tables=tables,
        data=data,
        damaged=tuple(dict.fromkeys(damaged)),
    )


def _config(job: Job, damaged: list[str]) -> dict[str, Any]:
    """`config.yaml` in dotted keys, lists and nulls as text; empty where there is none."""
    path = None if job.directory is None else job.directory / CONFIG
    if path is None or not (path.is_file() or job.record.get(BESIDE)):  # a run of pv.fit has none
        return {}
    try:
        found = _flat(parse(read_text(path).encode(), path) or {})
        if not found:
            damaged.append(f"{path} is empty, expected the config of the run; restore it from a copy")
        return found
    except (OSError, RunError, AttributeError) as error:
        damaged.append(_left_out(path, error))
        return {}


def _left_out(path: Path, error: Exception) -> str:
    """A sentence on a file that cannot be read."""
    return str(error) if isinstance(error, RunError) else f"{path} cannot be read: {' '.join(str(error).split())}"


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        elif value is None or isinstance(value, (bool, int, float, str)):
            found[f"{prefix}{key}"] = value
        else:
            found[f"{prefix}{key}"] = str(value)
    return found


def _keys(jobs: Sequence[Job], configs: dict[int, dict[str, Any]]) -> list[str]:
    """The keys that set jobs apart: as the plan says; of runs without a plan, all that differ."""
    named = list(dict.fromkeys(k for job in jobs for k in job.values if not k.startswith(("hydra.", *_NO_KEYS))))
    if all(job.planned and job.overrides for job in jobs):
        told = {k: {_value(job, configs[job.number], k) for job in jobs} for k in named}
        return [k for k in named if len(told[k]) > 1]
    told_configs = [c for c in configs.values() if c]
    differing = [
        k
        for k in dict.fromkeys(k for c in told_configs for k in c)
        if not k.startswith(_NO_KEYS) and len({str(c.get(k)) for c in told_configs}) > 1
    ]
    return list(dict.fromkeys([*(k for k in named if k not in differing and not told_configs), *differing]))


def _value(job: Job, config: dict[str, Any], key: str) -> Any:
    if key in config:
        value = config[key]
        return value.rsplit(".", 1)[-1] if key.endswith("_target_") and isinstance(value, str) else value
    typed = job.values.get(key, job.choices.get(key))
    return None if typed is None else as_number(typed)


def as_number(text: str) -> Any:
    """The number that a text is, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _place(job: Job, sweep: Path) -> str:
    if job.directory is None:
        return ""
    return job.directory.relative_to(sweep).as_posix() if job.directory.is_relative_to(sweep) else str(job.directory)


def _curve(run: Run | None, damaged: list[str]) -> pd.DataFrame:
    import pandas as pd

    if run is None:
        return pd.DataFrame()
    try:
        return run.metrics
    except (OSError, RunError, ValueError) as error:
        damaged.append(_left_out(run.directory, error))
        return pd.DataFrame()


def _figures(job: Job, curve: pd.DataFrame, damaged: list[str]) -> tuple[dict[str, float], dict[str, Any]]:
    """The figures of a job: what `train` ended with, and what `evaluate` found since; and the summary of the latter."""

    def number(key: str, value: float | None) -> float:
        try:
            return math.nan if value is None else float(value)
        except OverflowError:  # a whole number of a file may have any number of digits
            where = "a job" if job.directory is None else job.directory
            damaged.append(f"{key} of {where} is a number of {len(str(value))} digits, and left out")
            return math.nan

    found = {
        k: number(f"{k} in {RECORD}", v)
        for k, v in job.result.items()
        if isinstance(v, (int, float)) and not isinstance(v, bool)
    }
    told: dict[str, Any] = {}
    for part in PARTS:
        summary = _summary(job.run, part, damaged)
        told = told or summary
        values = {
            f"{part}/{k}": number(f"{k} in evaluation/{part}/summary.json", v)
            for k, v in summary.items()
            if k not in ("n", "seed") and (v is None or isinstance(v, (int, float))) and k != "reason"
        }
        # the validation ELBO of training is what runs are ranked by: one number, with the same noise for all
        found = found | values if part == "test" else values | found
    if "seconds" in curve:
        found["seconds"] = float(curve["seconds"].sum())
    return found, told


def _summary(run: Run | None, part: str, damaged: list[str]) -> dict[str, Any]:
    path = None if run is None else run.directory / "evaluation" / part / "summary.json"
    if path is None:
        return {}
    try:
        found: dict[str, Any] = read_json(path, "an evaluation", dict[str, Any])
    except FileNotFoundError:  # and the manifest knows of none
        return {}
    except (OSError, RunError) as error:
        damaged.append(_left_out(path, error))
        return {}
    return found


def _table(run: Run | None, damaged: list[str]) -> tuple[pd.DataFrame | None, str]:
    path = None if run is None else run.directory / "evaluation" / "test" / "table.csv"
    if run is None or path is None or not any(map(files.is_there, (path, path.with_name("summary.json")))):
        return None, ""  # it was not evaluated
    try:
        table = read_csv(path)
        identity = (run.recipe.get("data") or {}).get("test")
    except (OSError, ValueError, RunError) as error:
        damaged.append(_left_out(path, error))
        return None, ""
    return table, json.dumps([identity, len(table)], sort_keys=True)
