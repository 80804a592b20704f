"""CSV, Parquet and JSON of a comparison."""

import json

import pandas as pd
import pytest

from ppl_vae.runs.tables import guard
from ppl_vae.sweeps.compare import compare
from ppl_vae.sweeps.tables import record, write_tables
from tests.sweeps.frames import betas, gathered


def made():
    rows, tables = betas(seeds=2)
    rows[0]["keys"]["dataset.path"] = "=cmd|'/c calc'!A1"
    rows[1]["keys"]["dataset.path"] = "-x"
    rows[2]["keys"]["dataset.path"] = "@sum"
    rows[2]["keys"]["objective.beta"] = "auto"  # texts beside numbers
    rows[3] |= {"state": "failed", "reason": "+1: bad,\n\"quoted\"", "figures": {}}  # fmt: skip
    del tables[3]
    return compare(gathered(rows, tables=tables))


def test_every_file_holds_every_job(tmp_path):
    comparison = made()
    files = write_tables(tmp_path, comparison, record(comparison))
    csv = pd.read_csv(files["table"])
    parquet = pd.read_parquet(files["parquet"])
    told = json.loads(files["json"].read_text())
    assert list(csv.columns[:2]) == ["run", "status"]
    assert csv["job"].tolist() == parquet["job"].tolist() == [r["job"] for r in told["runs"]]
    assert len(csv) == 6
    assert parquet["validation/elbo"].dropna().tolist() == csv["validation/elbo"].dropna().tolist()
    assert parquet["objective.beta"].dropna().map(type).unique().tolist() == [str]
    assert ",5," in files["table"].read_text()  # a count stays whole
    assert told["runs"][-1]["epochs"] is None
    assert told["metric"] == "validation/elbo"
    assert sum(g["runs"] for g in told["groups"]) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["comparison.csv", "comparison.json", "comparison.parquet"]


def test_no_cell_is_a_formula(tmp_path):
    comparison = made()
    text = write_tables(tmp_path, comparison, record(comparison))["table"].read_text()
    cells = pd.read_csv(tmp_path / "comparison.csv", dtype=str, keep_default_na=False).to_numpy().ravel()
    assert not [c for c in cells if c.startswith(("=", "+", "@", "\t", "\r")) or (c.startswith("-") and not _number(c))]
    assert "'=cmd|" in text
    assert "-31" in text


def _number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("cell", [-1.5, 3, None, "-1e-3", "beta", "a=b", "+3"])
def test_numbers_and_plain_texts_are_as_they_are(cell):
    assert guard(cell) == cell
