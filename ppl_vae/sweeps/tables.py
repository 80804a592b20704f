"""A comparison as CSV, Parquet and JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppl_vae.runs.files import jsonable, write_atomically
from ppl_vae.runs.tables import to_csv
from ppl_vae.sweeps.compare import Comparison

if TYPE_CHECKING:
    import pandas as pd

COUNTS = ("epochs", "best_epoch", "active_units", "num_units", "num_particles", "group")
"""Figures that are whole numbers."""


def whole(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with counts as whole numbers, beside jobs that have none."""
    counts = [c for c in frame if str(c).rsplit("/", 1)[-1] in COUNTS]
    made = frame.copy()
    for column in counts:
        values = made[column].astype("Int64").astype(object)
        made[column] = values.where(values.notna(), None)
    return made


def record(made: Comparison) -> dict[str, Any]:
    """The whole of a comparison in JSON's types; NaN is null."""
    groups = [{**row, "jobs": [int(j) for j in row["jobs"]]} for row in _rows(made.groups)]
    return {
        "metric": made.metric.name,
        "higher_is_better": made.metric.up,
        "keys": list(made.by),
        "difference_in": made.differs_in or None,
        "groups": groups,
        "runs": _rows(made.runs.reset_index()),
        "importance": _rows(made.importance.reset_index()),
        "notes": list(made.notes),
    }


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = whole(frame).astype(object)
    return [jsonable(row) for row in rows.where(rows.notna(), None).to_dict("records")]


def write_tables(directory: Path, made: Comparison, told: dict[str, Any]) -> dict[str, Path]:
    """Write `comparison.csv`, `.parquet` (where pyarrow is installed) and `.json`, each whole or not at all.

    CSV and Parquet have a row a run; JSON holds groups, importance and notes, too.
    """
    runs = whole(made.runs.reset_index())
    runs = runs[["run", "status", *(c for c in runs if c not in ("run", "status", "job")), "job"]]
    files = {"table": directory / "comparison.csv", "parquet": directory / "comparison.parquet"}
    write_atomically(files["table"], to_csv(runs.astype(object), index=False))
    try:
        write_atomically(files["parquet"], _parquet(runs))
    except ImportError:
        del files["parquet"]
    files["json"] = directory / "comparison.json"
    write_atomically(files["json"], json.dumps(jsonable(told), indent=1, allow_nan=False) + "\n")
    return files


def _parquet(frame: pd.DataFrame) -> bytes:
    """Columns of one type each: numbers, or texts where a key has both."""
    import pandas as pd

    plain = {}
    for name in frame:
        column = frame[name]
        known = column.dropna()
        if column.dtype == object:
            texts = known.map(lambda v: isinstance(v, (str, bool))).any()
            column = column.map(str, na_action="ignore") if texts else pd.to_numeric(column).convert_dtypes()
        plain[name] = column
    buffer = io.BytesIO()
    pd.DataFrame(plain).to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()
