"""`compare` as a user meets it: a sweep, one with failures, a folder of before there were plans, a single run."""

import html
import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from ppl_vae.runs.recorder import read_record
from tests.cli.small import SMALL

FILES = ["comparison.csv", "comparison.html", "comparison.json", "comparison.parquet"]
BETAS = ("objective=beta_vae", "objective.beta=0.01,1", "seed=0,1", "trainer.epochs=8", "optimizer.lr=0.02")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep over β and seeds."""
    import os

    from ppl_vae.__main__ import main

    folder, before = tmp_path_factory.mktemp("swept"), Path.cwd()
    os.chdir(folder)
    try:
        words = [w for w in SMALL if "epochs" not in w]
        assert main(["train", *words, "-m", *BETAS, "hydra.sweep.dir=betas", "format=json"]) == 0
    finally:
        os.chdir(before)
    return folder / "betas"


@pytest.fixture
def betas(swept, tmp_path):
    return Path(shutil.copytree(swept, tmp_path / "betas"))


def test_the_best_elbo_is_first_where_the_own_bound_says_otherwise(cli, betas):
    (told,) = cli("compare", "sweep=betas", "format=json").json
    assert [(g["objective.beta"], g["runs"]) for g in told["groups"]] == [(1.0, 2), (0.01, 2)]
    (own,) = cli("compare", "sweep=betas", "metric=bound", "format=json").json
    assert own["groups"][0]["objective.beta"] == 0.01
    best = max(told["runs"], key=lambda r: r["validation/elbo"])
    assert told["best"] == str(betas / best["run"])
    assert told["difference_in"] == "test/elbo"
    assert told["groups"][1]["over"] == "seeds and data"
    assert told["files"]["page"] == str(betas / "comparison.html")
    assert [name for name in FILES if not (betas / name).exists()] == []
    on_disk = json.loads((betas / "comparison.json").read_text())
    assert on_disk["groups"] == own["groups"]
    parquet = pd.read_parquet(betas / "comparison.parquet")
    assert sorted(parquet["validation/elbo"]) == sorted(r["validation/elbo"] for r in told["runs"])


def test_train_returns_the_elbo_that_compare_ranks_by(cli, betas, monkeypatch):
    returned = []
    from ppl_vae.cli import hydra

    run = hydra.Job.run
    monkeypatch.setattr(hydra.Job, "run", lambda self, cfg: returned.append(run(self, cfg)) or returned[-1])
    words = [w for w in SMALL if "epochs" not in w]
    swept = [w.replace("0.01,1", "0.01").replace("0,1", "1") for w in BETAS]
    assert cli("train", *words, *swept, "hydra.run.dir=alone", "format=json").code == 0
    (told,) = cli("compare", "sweep=betas", "format=json").json
    (same,) = [r for r in told["runs"] if (r["objective.beta"], r["seed"]) == (0.01, 1)]
    assert returned[0] == -same["validation/elbo"]


def test_without_test_data_runs_are_ranked_by_the_elbo_that_train_returned(cli, tmp_path):
    """The evaluation of validation data has another noise, and does not take its place."""
    assert cli("train", *SMALL, "dataset.test=0", "hydra.run.dir=sweep/0").code == 0
    (told,) = cli("compare", "sweep=sweep", "format=json").json
    last = [json.loads(line) for line in (tmp_path / "sweep" / "0" / "metrics.jsonl").read_text().splitlines()]
    (run,) = told["runs"]
    assert run["validation/elbo"] == last[run["best_epoch"] - 1]["validation/elbo"]
    assert run["validation/nll"] is not None


def test_at_80_columns_numbers_are_whole(betas, tmp_path):
    """In a terminal of that width, as a process of its own sees it."""
    import os
    import pty
    import subprocess

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ppl_vae", "compare", "sweep=betas"], cwd=tmp_path, stdout=theirs,
        env={**os.environ, "COLUMNS": "80", "TERM": "xterm"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs)
    text = b""
    while True:
        try:
            more = os.read(ours, 4096)
        except OSError:
            break
        if not more:
            break
        text += more
    os.close(ours)
    assert process.wait(60) == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text.decode()).splitlines()
    table = [line for line in lines if line.count("  ") > 1]
    assert max(len(line.rstrip()) for line in table) <= 80
    told = json.loads((betas / "comparison.json").read_text())
    for group in told["groups"]:
        assert f"{group['mean']:.3f} ± {group['se']:.3f}" in text.decode()
    for run in told["runs"]:
        assert f"{run['validation/elbo']:.3f}" in text.decode()


def test_a_job_that_failed_and_one_that_is_missing_are_named(cli, betas):
    shutil.rmtree(betas / "0")
    record = read_record(betas / "1")
    (betas / "1" / "run.json").write_text(
        json.dumps({**record, "status": "failed", "error": "=it broke", "result": None})
    )
    called = cli("compare", "sweep=betas")
    assert called.code == 0, called.err
    assert "2 of 4 jobs finished" in called.out
    assert "1 missing, not ranked: job 0." in called.out
    assert "job 1 (objective.beta=0.01 seed=1) failed: =it broke" in called.out
    assert "'=it broke" in (betas / "comparison.csv").read_text()


def test_a_folder_of_before_there_were_plans(cli, betas):
    for name in ("sweep.json", "multirun.yaml"):
        (betas / name).unlink(missing_ok=True)
    (told,) = cli("compare", "sweep=betas", "format=json").json
    assert [(g["objective.beta"], g["runs"]) for g in told["groups"]] == [(1.0, 2), (0.01, 2)]


def test_a_single_run_is_no_contest(cli, betas):
    for name in ("0", "1", "2"):
        shutil.rmtree(betas / name)
    for name in ("sweep.json", "multirun.yaml"):
        (betas / name).unlink(missing_ok=True)
    called = cli("compare", "sweep=betas")
    assert called.code == 0, called.err
    assert "betas: 1 run;" in called.out
    assert f"best: {betas / '3'}" in called.out
    assert "± se" not in called.out  # one table, of the run


def test_a_run_of_other_particles_is_marked(cli, betas):
    assert cli("evaluate", "run=betas/2", "num_particles=50").code == 0
    called = cli("compare", "sweep=betas", "metric=nll")
    assert "50 particles is listed last" in called.out
    assert "8 particles" in called.out


@pytest.mark.parametrize(
    ("word", "told"),
    [("metric=nl", "did you mean nll"), ("group=sed", "did you mean seed"), ("sort=[1]", "sort"), ("group=1", "group")],
)
def test_what_cannot_be_meant_is_a_usage_error(cli, betas, word, told):
    before = sorted(p.name for p in betas.iterdir())
    called = cli("compare", "sweep=betas", word)
    assert called.code == 2, called.err
    assert told in called.err
    assert sorted(p.name for p in betas.iterdir()) == before


def test_the_page_tells_the_command_and_the_machine_though_a_record_is_torn(cli, tmp_path):
    cli("train", *SMALL, "-m", "seed=0,1", "hydra.sweep.dir=sweep")
    machine = json.loads((tmp_path / "sweep" / "1" / "run.json").read_text())["machine"]
    typed = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["command"][-1]
    (tmp_path / "sweep" / "0" / "run.json").write_text("{torn")
    assert cli("compare", "sweep=sweep").code == 0
    page = (tmp_path / "sweep" / "comparison.html").read_text(encoding="utf-8")
    assert f"{machine['cores']} cores" in page
    assert html.escape(typed) in page
    (tmp_path / "sweep" / "sweep.json").unlink()  # of an older version
    (tmp_path / "sweep" / "comparison.html").unlink()
    assert cli("compare", "sweep=sweep").code == 0
    assert "not recorded" in (tmp_path / "sweep" / "comparison.html").read_text(encoding="utf-8")
