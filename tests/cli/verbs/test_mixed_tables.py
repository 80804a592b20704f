"""A table with text, ordered values, counts and blanks, from its file to what is filled in, in its own words."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest

from ppl_vae.runs.run import Run

WORDS = (
    "dataset=csv", "dataset.path=people.csv", "dataset.exclude=[name]",
    "dataset.kinds={visits: count, income: positive, grade: {ordinal: [low, middle, high]}}", "model=tabular",
    "guide=tabular", "model.latent_dim=2", "model.hidden=[8]", "guide.hidden=[8]", "trainer.epochs=3",
    "trainer.batch_size=16", "trainer.compile=off", "results.figures=false", "results.draws=2",
    "results.num_particles=2",
)  # fmt: skip
CODED = {"town": {"Bonn", "Hamm", "Kiel"}, "smokes": {"no", "yes"}, "grade": {"low", "middle", "high"}}
COLUMNS = ["age", "town", "smokes", "grade", "visits", "income"]


def frame(n=60, seed=0):
    draw = np.random.default_rng(seed)
    made = pd.DataFrame(
        {
            "age": draw.normal(40, 10, n).round(1),
            "town": draw.choice(["Kiel", "Bonn", "Hamm"], n),
            "smokes": draw.choice(["yes", "no"], n),
            "grade": draw.choice(["low", "middle", "high"], n),
            "visits": draw.poisson(3, n).astype(float),
            "income": np.exp(draw.normal(8, 1, n)).round(2),
        }
    )
    made = made.astype(object).mask(pd.DataFrame(draw.random(made.shape) < 0.2, columns=made.columns))
    made.insert(0, "name", [f"p{i}" for i in range(n)])
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    frame().to_csv(folder / "people.csv", index=False)
    command = [sys.executable, "-m", "ppl_vae", "train", *WORDS, "hydra.run.dir=run"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def run(made, tmp_path):
    shutil.copy(made / "people.csv", tmp_path / "people.csv")
    return Path(shutil.copytree(made / "run", tmp_path / "run"))


def in_words(found):
    assert [column for column in found if column in COLUMNS] == COLUMNS
    assert found.notna().all(axis=None)
    for name, words in CODED.items():
        assert set(found[name]) <= words


def test_a_run_knows_its_kinds(run):
    spec = Run.load(run).spec
    assert spec.support == "mixed"
    assert [column.kind for column in spec.columns] == ["real", "category", "binary", "ordinal", "count", "positive"]
    assert spec == Run.load(run).data.spec
    posterior = az.from_netcdf(run / "posterior.nc")
    assert posterior.posterior_predictive["x"].coords["feature"].values.tolist() == COLUMNS


def test_new_data_are_filled_in_by_the_words_of_the_run(cli, run):
    """Other rows, columns in another order, and a town less: codes are still those of the run."""
    new = frame(30, seed=1)
    new = new[new["town"] != "Bonn"]
    new[["grade", "name", *(name for name in COLUMNS if name != "grade")]].to_csv("new.csv", index=False)
    called = cli("impute", "run=run", "dataset.path=new.csv", "id=name", "num_particles=20", "draws=2", "format=json")
    assert called.code == 0, called.err
    assert json.loads(called.out)["missing"] == int(new.isna().sum().sum())
    found = pd.read_csv(run / "imputed" / "new.csv").set_index("name")
    in_words(found)
    before = new.set_index("name")
    there = before.notna()
    for name in COLUMNS:
        kept = found.loc[before.index, name][there[name]]
        assert (kept == before[name][there[name]].astype(kept.dtype)).all(), name
    draws = pd.read_csv(run / "imputed" / "new_draws.csv")
    in_words(draws)
    assert draws["draw"].value_counts().to_dict() == {0: len(new), 1: len(new)}
    assert (draws["visits"] % 1 == 0).all()


def test_other_verbs_speak_in_words(cli, run):
    for words in (("reconstruct", "run=run"), ("generate", "run=run", "n=7"), ("encode", "run=run")):
        called = cli(*words)
        assert called.code == 0, called.err
    in_words(pd.read_csv(run / "reconstructed" / "test.csv"))
    samples = pd.read_csv(run / "samples.csv")
    in_words(samples)
    assert len(samples) == 7


def test_ways_are_in_words(cli, made, tmp_path):
    """Of a model without a class of its own, between whose values nothing lies."""
    shutil.copy(made / "people.csv", tmp_path / "people.csv")
    words = [word for word in WORDS if "tabular" not in word]
    assert cli("train", *words, "results.figures=false", "results.posterior=false", "hydra.run.dir=run").code == 0
    called = cli("interpolate", "run=run", "split=train", "start=[0]", "end=[1]", "steps=5")
    assert called.code == 0, called.err
    found = pd.read_csv("run/interpolated.csv")
    assert len(found) == 5
    in_words(found)


def test_a_category_that_the_run_does_not_know(cli, run):
    frame(20).replace({"Kiel": "Rome"}).to_csv("new.csv", index=False)
    called = cli("impute", "run=run", "dataset.path=new.csv")
    assert called.code == 1
    assert "'town' that cannot be category, the first 'Rome'" in called.err
    assert "expected one of Bonn, Hamm, Kiel" in called.err


def test_names_of_rows_are_no_category(cli, made, tmp_path):
    shutil.copy(made / "people.csv", tmp_path / "people.csv")
    called = cli("train", "dataset=csv", "dataset.path=people.csv")
    assert called.code == 1
    assert "exclude=[name]" in called.err
