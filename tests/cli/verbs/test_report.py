"""`report`: of a run as it is, and of one whose files are odd."""

import json
import re

import numpy as np
import pytest


def page(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_it_says_what_is_known_and_how_to_ask_for_the_rest(cli, run_copy):
    assert cli("report", "run=run").code == 0
    html = page(run_copy)
    assert len(html) < 1_000_000
    record = json.loads((run_copy / "run.json").read_text())
    machine = record["machine"]
    assert record["command"][-1] in re.search(r'id="provenance".*?</section>', html, re.S)[0]
    assert f"{machine['cores']} cores" in html
    assert machine["processor"] in html
    assert "ppl-vae calibrate run=" in html
    hard = re.search(r'id="hardest".*?</table>', html, re.S)[0]
    assert len(re.findall(r"<tr>", hard)) == 1 + 8
    assert hard.count(", rebuilt ") >= 8  # rows of a table, the features that are furthest off


def test_ranks_of_a_calibration_are_drawn_and_no_archive_of_them_stops_the_page(cli, run_copy):
    assert cli("calibrate", "run=run", "simulations=20", "draws=10", "figures=false").code == 0
    assert cli("report", "run=run").code == 0
    assert "Departure of ranks from uniform" in page(run_copy)
    (run_copy / "manifest.json").unlink()
    np.savez(run_copy / "calibration" / "ranks.npz", z=np.array([{"a": 1}], dtype=object))
    called = cli("report", "run=run")
    assert called.code == 0
    assert "ranks.npz cannot be read" in called.err
    assert "Simulation-based calibration" in page(run_copy)


@pytest.mark.parametrize("name", ["units.csv", "table.csv"])
def test_a_table_that_is_none_leaves_the_others(cli, run_copy, name):
    (run_copy / "manifest.json").unlink()
    (run_copy / "evaluation" / "test" / name).write_text("\x00,\n1")
    assert cli("report", "run=run").code == 0
    assert "Can the evidence be trusted?" in page(run_copy)
