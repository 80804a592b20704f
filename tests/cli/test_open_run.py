"""Verbs on a run: what they write, where they find it, what they say when they do not."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from ppl_vae.runs.recorder import read_text
from ppl_vae.runs.run import Run
from tests.cli.small import DATA, NETWORKS, SMALL

VERBS = {
    "evaluate": ["num_particles=8"],
    "posterior": ["draws=5", "data=4"],
    "generate": ["n=5"],
    "report": [],
    "calibrate": ["simulations=20", "draws=10"],
    "gradients": ["samples=10"],
    "check": [],
    "export": [],
}


@pytest.mark.parametrize(("verb", "words"), VERBS.items(), ids=VERBS)
def test_a_verb_writes_inside_the_run_only(cli, run_copy, verb, words):
    before = {p.name for p in run_copy.iterdir()}
    called = cli(verb, "run=run", *words)
    assert called.code == 0, called.err
    assert called.err == ""
    assert str(run_copy) in called.out or verb == "check"
    assert [p.name for p in called.folder.iterdir()] == ["run"]
    assert {p.name for p in run_copy.iterdir()} >= before


@pytest.mark.parametrize(("verb", "words"), VERBS.items(), ids=VERBS)
def test_json_is_one_strict_object(cli, run_copy, verb, words):
    called = cli(verb, "run=run", *words, "format=json")
    assert called.code == 0, called.err
    record = json.loads(called.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert record.get("run", str(run_copy)) == str(run_copy)


def test_a_part_of_a_report_that_fails_leaves_the_others(cli, run_copy, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no picture")

    monkeypatch.setattr("ppl_vae.plots.traversals", broken)
    monkeypatch.setattr("ppl_vae.plots.feature_traversals", broken)
    monkeypatch.setattr("ppl_vae.reports.charts.learning", broken)
    (run_copy / "evaluation" / "test" / "summary.json").write_text("{torn")
    called = cli("report", "run=run")
    assert called.code == 0
    assert "ppl-vae report: no traversals: RuntimeError: no picture" in called.err
    assert "ppl-vae report: no evaluation: " in called.err
    page = (run_copy / "report.html").read_text()
    for place in ("curves", "traversals"):
        assert "RuntimeError: no picture" in page.split(f'id="{place}"')[1].split("</div>")[0]
    assert "Data beside their reconstructions" in page or "reconstructions" in page


def test_evaluate_gives_the_promised_figures(cli, run_copy):
    (record,) = cli("evaluate", "run=run", "num_particles=20", "format=json").json
    assert {"elbo", "nll", "nll_se", "num_particles", "kl", "active_units", "pareto_k"} <= record.keys()
    assert record["num_particles"] == 20
    assert -record["nll"] >= record["elbo"]
    again = cli("evaluate", "run=run", "num_particles=20", "format=json").json[0]
    assert again == record


def test_posterior_is_what_arviz_reads(cli, run_copy):
    assert cli("posterior", "run=run", "draws=5", "data=4").code == 0
    from ppl_vae.runs.run import Run

    drawn = Run.load(run_copy).posterior()
    assert drawn["posterior"]["z"].shape == (1, 5, 4, 2)
    assert {"log_weight"} <= set(drawn["sample_stats"].data_vars)


def test_exported_programs_are_those_of_the_run(cli, run_copy):
    (record,) = cli("export", "run=run", "format=json").json
    assert record["latents"] == {"z": ["loc", "scale"]}
    z = torch.randn(5, 2)
    found = torch.export.load(record["decoder"]).module()({"z": z})["x"]
    model = Run.load(run_copy).vae.model
    with torch.no_grad():
        expected = model.likelihood(model.decoder(z)).base_dist
    torch.testing.assert_close(found["loc"], expected.loc)


def test_a_pair_that_cannot_be_exported_leaves_nothing(cli, tmp_path):
    assert cli("train", *SMALL, "guide=iaf", "hydra.run.dir=flow").code == 0
    called = cli("export", "run=flow")
    assert called.code == 1
    assert "cannot be exported" in called.err
    assert not (tmp_path / "flow" / "export").exists()


def test_generate_needs_no_data(cli, run_copy):
    config = read_text(run_copy / "config.yaml")
    (run_copy / "config.yaml").write_text(config.replace("ppl_vae.datasets.ppca", "ppl_vae.datasets.gone"))
    called = cli("generate", "run=run", "n=7", "figures=false")
    assert called.code == 0, called.err
    assert np.load(run_copy / "samples.npz")["x"].shape == (7, 3)


def test_a_run_with_labels_generates_and_reports(cli):
    words = ("dataset.with_labels=true", "model=semi_supervised", "guide=semi_supervised", "trainer.epochs=1")
    called = cli("train", *words, "results.posterior=false", "hydra.run.dir=labelled")
    assert called.code == 0, called.err
    assert "no figures" not in called.err
    for verb in (["generate", "n=5"], ["report"]):
        called = cli(*verb, "run=labelled")
        assert called.code == 0, called.err
    assert Path("labelled/figures/samples.png").exists()


def test_generate_repeats_with_its_seed(cli, run_copy):
    def draw(seed):
        assert cli("generate", "run=run", "n=3", "figures=false", f"seed={seed}").code == 0
        return np.load(run_copy / "samples.npz")["x"]

    assert np.array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_report_is_self_contained(cli, run_copy):
    assert cli("evaluate", "run=run", "num_particles=8").code == 0
    assert cli("report", "run=run").code == 0
    page = (run_copy / "report.html").read_text()
    assert "data:image/png;base64" in page
    assert 'src="http' not in page
    assert "latent_dim" in page


def test_a_report_of_a_run_whose_data_have_gone(cli, run_copy):
    config = OmegaConf.load(run_copy / "config.yaml")
    config.dataset = {"_target_": "ppl_vae.datasets.npz", "path": "/gone.npz"}
    OmegaConf.save(config, run_copy / "config.yaml")
    called = cli("report", "run=run")
    assert called.code == 0, called.err
    assert "The data cannot be read" in (run_copy / "report.html").read_text()


def test_latest_is_the_newest_run(train, cli, tmp_path):
    assert cli("evaluate", "run=latest").code == 1
    train("name=b")
    train("name=a")
    called = cli("evaluate", "run=latest", "num_particles=4", "format=json")
    assert Path(called.json[0]["run"]).parent.name == "a"


WRONG = {
    "missing": ("run=nowhere", "no such folder"),
    "near": ("run=runn", "did you mean run?"),
    "no run": ("run=.", "did you mean"),
    "a file": ("run=run/config.yaml", "its folder is a run"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("word", "says"), WRONG.values(), ids=WRONG)
def test_what_is_no_run_is_refused(cli, run_copy, verb, word, says):
    called = cli(verb, word)
    assert called.code == 1
    assert says in called.err
    assert called.out == ""
    assert [p.name for p in called.folder.iterdir()] == ["run"]


DAMAGED = {
    "no weights": (lambda run: (run / "model.safetensors").unlink(), "no weights"),
    "torn weights": (lambda run: (run / "model.safetensors").write_bytes(b"torn"), "model.safetensors"),
    "torn record": (lambda run: (run / "run.json").write_text("{"), "run.json"),
    "torn config": (lambda run: (run / "config.yaml").write_text("a: ["), "config.yaml"),
    "other config": (lambda run: (run / "config.yaml").write_text("a: 1"), "config.yaml"),
}


@pytest.mark.parametrize(("harm", "says"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_run_is_refused(cli, run_copy, harm, says):
    harm(run_copy)
    called = cli("evaluate", "run=run")
    assert called.code == 1, called.err
    assert says in called.err
    assert "Traceback" not in called.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_run_that_cannot_be_written(cli, run_copy):
    run_copy.chmod(0o500)
    try:
        called = cli("evaluate", "run=run", "num_particles=4")
    finally:
        run_copy.chmod(0o700)
    assert called.code == 1
    assert "evaluation" in called.err


def test_paths_with_characters_of_the_grammar(train, cli):
    called = train("hydra.run.dir=beta=4,(a) [b]/run 1")
    assert called.code == 0, called.err
    directory = "beta=4,(a) [b]/run 1"
    assert Path(directory, "run.json").exists()
    for verb in ("generate", "posterior"):  # all verbs open a run in one way
        called = cli(verb, f"run={directory}", *VERBS[verb])
        assert called.code == 0, called.err
    called = cli("evaluate", "-m", f"run={directory}", "num_particles=4,5")
    assert called.code == 0, called.err
    assert cli("train", f"resume={directory}").code == 0


def test_gradients_of_groups_make_a_run_directory(cli):
    called = cli("gradients", *DATA, *NETWORKS, "samples=10", "format=json")
    assert called.code == 0, called.err
    (run,) = Path("outputs").glob("gradients_vae_ppca/*")
    assert called.json[0]["run"] == str(run.absolute())
    assert (run / "gradients" / "table.csv").exists()
    assert (run / "figures" / "gradients.png").exists()
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert cli("evaluate", "run=latest").code == 1  # nothing was trained


def test_check_of_groups_leaves_nothing(cli):
    called = cli("check", *DATA, *NETWORKS, "format=json")
    assert called.code == 0, called.err
    assert called.json[0]["ok"] is True
    assert called.left == []


def test_check_tells_its_findings(cli, tmp_path):
    (tmp_path / "mistyped.py").write_text(
        "import pyro, pyro.distributions as dist\n"
        "def guide(x):\n"
        "    with pyro.plate('data', x.shape[0]):\n"
        "        pyro.sample('zz', dist.Normal(x[:, :2], 1.0).to_event(1))\n"
    )
    called = cli("check", *DATA, *NETWORKS[:2], "guide._target_=mistyped.guide")
    assert called.code == 1
    assert "zz" in called.err


def test_groups_beside_a_run_are_refused(cli, run_copy):
    for verb in ("check", "gradients"):
        called = cli(verb, "run=run", "model=conv")
        assert called.code == 2
        assert "leave out one" in called.err
