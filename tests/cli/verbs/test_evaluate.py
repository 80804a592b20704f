"""`evaluate` with further scores: files, JSON, the report; and what it says when they cannot be had."""

import json

import pandas as pd
import pytest
import xarray as xr


@pytest.mark.slow
def test_every_score_of_a_run(cli, run_copy):
    words = ["evidence=ais", "gaps=true", "data=2", "scores=[latents,samples,checks]", "num_particles=30"]
    (record,) = cli("evaluate", "run=run", *words, "format=json").json
    folder = run_copy / "evaluation" / "test"
    for name, key in {
        "ais": "bracket",
        "gaps": "amortization",
        "latents": "information_z",
        "samples": "coverage",
        "checks": "mean_pit_p",
    }.items():
        assert isinstance(record[name][key], float), name
        assert json.loads((folder / f"{name}.json").read_text()) == record[name]
    assert {"ais.csv", "gaps.csv", "latents.csv", "checks.csv"} <= {p.name for p in folder.iterdir()}
    assert {"gaps.png", "information.png", "checks.png"} <= {p.name for p in (run_copy / "figures").iterdir()}
    assert cli("calibrate", "run=run", "simulations=20", "draws=10").code == 0
    assert cli("report", "run=run").code == 0
    page = (run_copy / "report.html").read_text(encoding="utf-8")
    for title in ("Annealed importance sampling", "Approximation and amortization gap", "Simulation-based calibration"):
        assert f"<h3>{title}</h3>" in page
    assert "Predictive checks" in page
    assert 'aria-label="Departure of ranks from uniform, z: ' in page


def test_the_users_own_features_and_statistics(cli, run_copy, tmp_path):
    (tmp_path / "features_of_mine.py").write_text(
        "import torch\ndef squares(x):\n    return torch.cat([x, x**2], 1)\ndef first(x):\n    return x[:, 0]\n"
    )
    own = ["features=features_of_mine.squares", "statistics={first:features_of_mine.first}"]
    (record,) = cli("evaluate", "run=run", "scores=[samples,checks]", *own, "num_particles=5", "format=json").json
    assert record["samples"]["features"] == "features_of_mine.squares"
    assert record["checks"].keys() == {"first_posterior_p", "first_pit_p"}
    assert cli("evaluate", "run=run", "scores=[samples]", "features=encoder", "num_particles=5").code == 0


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["scores=[prob]"], 2, "did you mean probe"),
        (["evidence=anneal"], 2, "expected one of: ais, importance"),
        (["scores=[probe]"], 1, "no labels"),
        (["scores=[disentanglement]"], 1, "no known factors"),
        (["data=0", "gaps=true"], 1, "above 0"),
    ],
)
def test_what_cannot_be_had(cli, run_copy, words, code, told):
    called = cli("evaluate", "run=run", "num_particles=5", *words)
    assert called.code == code
    assert told in called.err


def test_labels_and_factors(cli, tmp_path):
    small = ["model.latent_dim=2", "model.hidden=[4]", "guide.hidden=[4]", "trainer.epochs=1", "results.figures=false"]
    sprites = ["dataset=sprites", "dataset.size=8", "dataset.places=3", "dataset.angles=2", "results.posterior=false"]
    called = cli("train", *sprites, *small, "results.num_particles=2", "hydra.run.dir=run")
    assert called.code == 0, called.err
    (record,) = cli(
        "evaluate", "run=run", "split=train", "num_particles=2", "scores=[probe,disentanglement]", "format=json"
    ).json
    assert 0 <= record["probe"]["accuracy"] <= 1
    assert 0 <= record["disentanglement"]["mig"] <= 1


def test_resampled_posterior(cli, run_copy):
    assert cli("posterior", "run=run", "draws=50", "data=4", "resample=psis").code == 0
    called = cli("posterior", "run=run", "resample=all")
    assert called.code == 2
    assert "expected psis or null" in called.err


def test_training_warns_of_collapse(train):
    """Under β = 100 nothing can be told; the run goes on, with one line of warning."""
    called = train("objective.beta=100", "objective.kl=analytic", "trainer.epochs=60", "optimizer.lr=0.03")
    assert called.code == 0
    assert called.err.count("collapse: none of the 2 units of 'z'") == 1


@pytest.mark.slow
def test_refined_by_hmc(cli, run_copy):
    (record,) = cli("posterior", "run=run", "draws=20", "data=3", "refine=1", "format=json").json
    assert record["refined_data"] == 1
    assert 0.9 < record["worst_r_hat"] < 1.5
    table = pd.read_csv(run_copy / "refined.csv", index_col=0)
    assert {"r_hat", "ess_bulk"} <= set(table.columns)
    assert xr.open_datatree(run_copy / "refined.nc", engine="h5netcdf")["posterior"].sizes["chain"] == 4
    assert cli("posterior", "run=run", "refine=0").code == 2
