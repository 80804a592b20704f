"""Runs of a stranger's pair and data: every verb opens them, from anywhere, and says so where data were replaced."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ppl_vae.runs.run import Run
from tests.runs import pairs

QUICK = ["trainer.epochs=1", "trainer.compile=off", "results.figures=false", "results.posterior=false"]
QUICK += ["results.num_particles=4"]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the stranger's in the working directory."""
    shutil.copy(pairs.__file__, tmp_path / "my_len.py")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_len", None)


def test_sequences_are_trained_and_opened_by_every_verb(cli, mine, tmp_path, monkeypatch):
    """Lengths of 0 are nowhere made up: `pack_padded_sequence` raises on them."""
    words = ["model._target_=my_len.Sequences", "guide._target_=my_len.Reader", "dataset._target_=my_len.sequence_data"]
    assert cli("train", *words, *QUICK, "hydra.run.dir=run").code == 0
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "run", tmp_path / "elsewhere" / "moved")
    monkeypatch.chdir(tmp_path / "elsewhere")
    sys.modules.pop("my_len")
    run = Run.load("moved")
    assert [tuple(part.shape) for part in run.vae.reference_batch] == [(2, 5, 3), (2,)]
    for verb, *keys in (
        ("generate", "n=7", "figures=false"),
        ("posterior", "draws=10"),
        ("evaluate", "num_particles=4"),
        ("report",),
    ):
        called = cli(verb, "run=moved", *keys)
        assert called.code == 0, (verb, called.err)
    assert np.load("moved/samples.npz")["x"].shape == (7, 5, 3)
    called = cli("export", "run=moved")
    assert called.code in (0, 1)
    assert "Length of all samples" not in called.err


def test_data_replaced_under_a_run(cli, tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    small = ["dataset=npz", f"dataset.path={tmp_path / 'x.npz'}", "model.hidden=[4]", "guide.hidden=[4]"]
    assert cli("train", *small, *QUICK, "hydra.run.dir=run").code == 0
    called = cli("evaluate", "run=run", "num_particles=4", "format=json")
    assert (called.code, "warning" in called.json[0], "warning" in called.err) == (0, False, False)
    x[:, 1] += 1
    np.savez(tmp_path / "x.npz", x=x)
    called = cli("evaluate", "run=run", "num_particles=4", "format=json")
    assert called.code == 0
    assert "the test data are not those of when" in called.json[0]["warning"]
    assert called.err.count("the test data are not those of when") == 1
    called = cli("train", "resume=run", "trainer.epochs=2")
    assert called.code == 1
    assert "train data that are not those of the run" in called.err
    assert Run.load("run").status == "finished"  # what was there stays as it was


def test_figures_are_labelled_by_the_data_they_are_of(cli, train, tmp_path):
    """With no test data the figures are of validation data."""
    assert train("dataset.test=0", "hydra.run.dir=sweep/0").code == 0
    assert (tmp_path / "sweep" / "0" / "evaluation" / "validation").is_dir()
    assert cli("report", "run=sweep/0").code == 0
    page = (tmp_path / "sweep" / "0" / "report.html").read_text()
    assert "validation −log p(x)" in page
    assert "test −log p(x)" not in page
    called = cli("compare", "sweep=sweep", "format=json")
    (row,) = called.json[0]["runs"]
    assert "validation/nll" in row
    assert not any(key.startswith("test/") for key in row)


def test_equal_commands_write_equal_bytes(cli, train, tmp_path):
    """In every file of training that holds no time."""
    for name in ("a", "b"):
        assert train(f"hydra.run.dir={name}").code == 0
    timed = {"run.json", "metrics.jsonl", ".lock"}
    found = [
        {p.relative_to(tmp_path / d).as_posix(): p.read_bytes() for p in sorted((tmp_path / d).rglob("*"))
         if p.is_file() and p.name not in timed}
        for d in ("a", "b")
    ]  # fmt: skip
    assert {"config.yaml", "model.safetensors", "checkpoints/last.safetensors", "recipe.json"} <= found[0].keys()
    assert [name for name in found[0] if found[0][name] != found[1].get(name)] == []
    for name in timed - {".lock"}:
        assert (tmp_path / "a" / name).exists()


def test_a_run_of_fit_is_told_by_the_commands(cli, tmp_path):
    import ppl_vae as pv

    vae, batch = pairs.functions()
    pv.fit(vae, batch, epochs=1, progress=False, compile="off", directory=tmp_path / "run")
    for words in (["evaluate", "run=run"], ["train", "resume=run"]):
        called = cli(*words)
        assert called.code == 1
        assert "is a run of pv.fit" in called.err
    assert json.loads(Path("run/run.json").read_text())["verb"] == "fit"
