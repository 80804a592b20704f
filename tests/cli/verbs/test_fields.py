"""Columns beside x, by name, from the file to what is made of a run."""

import shutil
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest
import torch

import ppl_vae as pv
from ppl_vae.__main__ import main
from ppl_vae.runs.run import Run

WORDS = (
    "dataset=csv", "dataset.path=t.csv", "dataset.fields=[age,town,batch]", "dataset.categories=[batch]",
    "dataset.standardize_fields=[age]", "dataset.exclude=[name]", "model=conditional", "guide=conditional",
    "model.hidden=[4]", "guide.hidden=[4]", "model.latent_dim=2", "trainer.epochs=1", "trainer.compile=off",
    "results.figures=false", "results.num_particles=2", "results.draws=3", "hydra.run.dir=run",
)  # fmt: skip


def table():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc"))
    towns = np.array(["Ulm", "Bonn", "Kiel"])[rng.integers(3, size=60)]
    return frame.assign(age=rng.uniform(20, 80, 60), town=towns, batch=rng.integers(3, 6, 60), name=range(60))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    import os

    folder, before = tmp_path_factory.mktemp("fields"), Path.cwd()
    os.chdir(folder)
    try:
        table().to_csv("t.csv", index=False)
        assert main(["train", *WORDS]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    shutil.copy(trained / "t.csv", tmp_path / "t.csv")
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


def test_names_reach_arviz(run):
    found = az.from_netcdf(run / "posterior.nc").constant_data
    assert set(found.data_vars) == {"age", "town", "batch"}
    rows = table().loc[found["datum"].values]
    assert np.allclose(found["age"], rows["age"])  # in the user's units, whatever networks see
    assert [("Bonn", "Kiel", "Ulm")[code] for code in found["town"].values] == list(rows["town"])


def test_data_are_generated_for_what_is_given(cli, run):
    called = cli("generate", "run=run", "n=4", "given.age=50", "given.town=Ulm", "given.batch=[3,3,5,5]")
    assert called.code == 0, called.err
    with np.load(run / "samples.npz") as file:
        assert (file["town"].tolist(), file["batch"].tolist()) == ([2] * 4, [0, 0, 2, 2])
        assert file["age"].tolist() == [50.0] * 4


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("given.town=Koeln", "given.town: got 'Koeln', expected a class from 0 to 2, or one of Bonn, Kiel, Ulm"),
        ("given.batch=0", "given.batch: got 0, expected one of 3, 4, 5"),  # a name of none, and codes are nobody's
        ("given.aeg=0", "did you mean age?"),
    ],
)
def test_what_cannot_be_given_is_refused(cli, run, word, message):
    called = cli("generate", "run=run", word)
    assert called.code
    assert message in called.err


def test_new_data_have_the_codes_of_the_run(cli, run, tmp_path):
    frame = table()
    some = frame[(frame["town"] != "Bonn") & (frame["batch"] > 3)]  # so that codes of their own would be others
    some.to_csv(tmp_path / "new.csv", index=False)
    called = cli("encode", "run=run", "dataset.path=new.csv", "id=name")
    assert called.code == 0, called.err
    codes = pd.read_csv(run / "encoded" / "new.csv", index_col="name")
    opened = Run.load(run)
    x = (torch.tensor(some[["a", "b", "c"]].to_numpy()) - torch.tensor(opened.spec.location)) / torch.tensor(
        opened.spec.scale
    )
    town = torch.tensor([("Bonn", "Kiel", "Ulm").index(name) for name in some["town"]])
    batch = (x.float(), torch.tensor(some["age"].to_numpy()).float(), town, torch.tensor(some["batch"].to_numpy()) - 3)
    expected = pv.encode(opened.vae, batch)["z"].loc
    assert list(codes.index) == list(some["name"])
    assert np.allclose(codes[["z[0]", "z[1]"]], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("town", "Mainz", "got in town the categories Mainz, expected those of"),
        ("batch", 7, "got in batch the categories 7, expected those of"),
        ("age", "old", "got categories of shape () in age, expected numbers of shape ()"),
    ],
)
def test_new_data_of_another_kind_are_refused(cli, run, tmp_path, column, value, message):
    frame = table().astype({column: object})
    frame.loc[0, column] = value
    frame.to_csv(tmp_path / "new.csv", index=False)
    called = cli("encode", "run=run", "dataset.path=new.csv")
    assert called.code
    assert message in called.err


def test_halves_are_exported_by_name(cli, run):
    called = cli("export", "run=run")
    assert called.code == 0, called.err
    assert "(x, age, town, batch)" in called.out
