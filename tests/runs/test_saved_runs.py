"""A run directory written before the rooms had their present names still opens, is evaluated, and goes on.

The fixture was made by `ppl-vae train trainer.epochs=2 dataset=digits dataset.binarization=none likelihood=normal
model.hidden=[16] guide.hidden=[16] model.latent_dim=2 trainer.compile=off results.num_particles=8`, when likelihoods
lay in `ppl_vae.conditionals`.
"""

import importlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import ppl_vae as pv
from ppl_vae.__main__ import main
from ppl_vae.config.locate import locate
from ppl_vae.config.targets import MOVED, with_present_names
from ppl_vae.errors import CheckError, UsageError
from ppl_vae.likelihoods import Normal
from ppl_vae.runs.run import Run

SAVED = Path(__file__).parent / "fixtures" / "rooms_before"


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(SAVED, tmp_path / "run"))


def test_the_fixture_names_targets_that_have_moved_and_no_machine():
    texts = {name: (SAVED / name).read_text(encoding="utf-8") for name in ("config.yaml", "run.json")}
    assert "ppl_vae.conditionals.Normal" in texts["config.yaml"]
    assert not any(os.sep + word in text for text in texts.values() for word in ("home", "root", "tmp", "work"))


def test_it_opens_with_its_weights(saved):
    run = Run.load(saved)
    assert run.config.likelihood._target_ == "ppl_vae.likelihoods.Normal"
    assert any(isinstance(part, Normal) for part in run.vae.model.modules())
    assert len(run.metrics) == 2
    assert "conditionals" in (saved / "config.yaml").read_text(encoding="utf-8")  # reading writes nothing


def test_it_is_evaluated_to_the_figures_it_ended_with(saved, capsys):
    assert main(["evaluate", f"run={saved}", "num_particles=8", "format=json"]) == 0
    now = json.loads(capsys.readouterr().out)
    then = Run.load(saved).result
    for name in ("elbo", "nll", "reconstruction"):
        assert now[name] == pytest.approx(then[f"test/{name}"], rel=1e-5)  # another processor may round elsewise
    assert now["kl"] == pytest.approx(-now["elbo"] - now["reconstruction"], rel=1e-5)  # it was the closed form once


def test_new_data_and_programs_come_from_it(saved):
    """It keeps none of its first data: shapes come from its data set, and in Python from `like=`."""
    assert Run.load(saved).reference is None
    assert main(["generate", f"run={saved}", "n=3", "figures=false"]) == 0
    assert np.load(saved / "samples.npz")["x"].shape == (3, 1, 8, 8)
    assert main(["export", f"run={saved}"]) == 0
    with pytest.raises(CheckError, match="like=batch"):
        pv.generate(Run.load(saved).vae, 3)


def test_it_goes_on(saved, capsys):
    assert main(["train", f"resume={saved}", "trainer.epochs=3", "format=json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 3
    assert Run.load(saved).status == "finished"
    assert "ppl_vae.conditionals" not in (saved / "config.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("old", MOVED)
def test_every_module_that_moved_is_where_the_table_says_and_nowhere_else(old):
    new = importlib.import_module(MOVED[old])
    for name in (n for n, found in vars(new).items() if getattr(found, "__module__", "").startswith(new.__name__)):
        assert callable(locate(f"{MOVED[old]}.{name}", "group", trusted=True))
        with pytest.raises(UsageError):
            locate(f"{old}.{name}", "group", trusted=True)


def test_targets_are_renamed_at_any_depth_and_nothing_else_is():
    old = "ppl_vae.conditionals.Poisson"
    saved = {"a": [{"_target_": old, "name": old}], "b": {"_target_": "mine.Model", "c": {"_target_": old}}, "d": None}
    new = "ppl_vae.likelihoods.Poisson"
    assert with_present_names(saved) == {
        "a": [{"_target_": new, "name": old}],
        "b": {"_target_": "mine.Model", "c": {"_target_": new}},
        "d": None,
    }


def test_a_run_from_before_guides_were_made_of_parts_opens_and_goes_on(tmp_path, monkeypatch, capsys):
    """Its weights and its recipe name `guide.base` and `guide.flows`, of `guide=iaf`; made like the one above."""
    monkeypatch.chdir(tmp_path)
    parts = shutil.copytree(SAVED.parent / "parts_before", tmp_path / "run")
    assert "guide.flows.0.net.layers.0.weight" in json.loads((parts / "recipe.json").read_text())["trained parameters"]
    assert main(["evaluate", f"run={parts}", "num_particles=8", "format=json"]) == 0
    now = json.loads(capsys.readouterr().out)
    then = Run.load(parts).result
    for name in ("elbo", "nll", "reconstruction"):
        assert now[name] == pytest.approx(then[f"test/{name}"], rel=1e-5)
    assert main(["train", f"resume={parts}", "trainer.epochs=3", "format=json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 3
    assert "z.flows" not in (parts / "recipe.json").read_text()
