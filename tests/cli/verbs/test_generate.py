"""`generate` for models that take more than their data: given by name, or from data that have it; kept beside them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl_vae import generate
from ppl_vae.__main__ import main
from ppl_vae.runs.run import Run

CONDITIONAL = (
    "dataset.with_labels=true", "model=conditional", "guide=conditional", "model.hidden=[4]", "guide.hidden=[4]",
    "model.latent_dim=2", "trainer.epochs=1", "trainer.compile=off", "results.figures=false", "results.posterior=false",
    "results.num_particles=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    import os

    folder, before = tmp_path_factory.mktemp("conditional"), Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", *CONDITIONAL, "hydra.run.dir=run"]) == 0
    finally:
        os.chdir(before)
    return folder / "run"


@pytest.fixture
def run(conditional, tmp_path):
    return Path(shutil.copytree(conditional, tmp_path / "run"))


def samples(run):
    with np.load(run / "samples.npz") as file:
        return {name: file[name] for name in file}


@pytest.mark.parametrize("word", ["given.label=3", "given.y=3", "+given.y=3", "given={y:3}"])
def test_a_label_that_is_given_is_what_is_drawn_for_and_kept(cli, run, word):
    called = cli("generate", "run=run", "n=6", word)
    assert called.code == 0, called.err
    found = samples(run)
    assert found["y"].tolist() == [3] * 6
    vae = Run.load(run).vae
    assert np.array_equal(found["x"], generate(vae, 6, given={"y": 3}, seed=0).numpy())
    assert (run / "figures" / "samples.png").exists()


def test_a_label_for_each(cli, run):
    assert cli("generate", "run=run", "n=3", "given.label=[7,0,2]").code == 0
    found = samples(run)
    assert found["y"].tolist() == [7, 0, 2]
    expected = generate(Run.load(run).vae, 3, given={"y": torch.tensor([7, 0, 2])}, seed=0)
    assert np.array_equal(found["x"], expected.numpy())


@pytest.mark.parametrize(
    ("words", "split"), [((), "test"), (("like=train",), "train"), (("like=validation",), "validation")]
)
def test_labels_of_data(cli, run, words, split):
    assert cli("generate", "run=run", "n=5", "figures=false", *words).code == 0
    labels = getattr(Run.load(run).data, split).batch()[1][:5]
    assert samples(run)["y"].tolist() == labels.tolist()


def test_what_is_given_needs_no_data(cli, run, monkeypatch):
    def gone(*_):
        raise AssertionError("the data were read")

    monkeypatch.setattr("ppl_vae.config.build.build_dataset", gone)
    assert cli("generate", "run=run", "n=2", "given.label=1", "figures=false").code == 0


WRONG = {
    "a name": ("given.lable=3", 2, "did you mean label?"),
    "a class": ("given.label=11", 1, "expected a class from 0 to 9"),
    "a fraction": ("given.label=2.5", 1, "given.label: got 2.5, expected a class"),
    "text": ("given.label=abc", 1, "given.label: got 'abc', expected a class"),
    "too few": ("given.label=[1,2]", 1, "of shape (2,)"),
    "the data": ("given.x=1", 1, "something left to draw"),
    "no mapping": ("given=3", 2, "given"),
    "no part": ("like=all", 2, "train"),
}


@pytest.mark.parametrize(("word", "code", "says"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_given(cli, run, word, code, says):
    called = cli("generate", "run=run", "n=4", "figures=false", word)
    assert called.code == code, called.err
    assert says in called.err
    assert not (run / "samples.npz").exists()


@pytest.fixture(scope="module")
def some_labelled(tmp_path_factory):
    """A run of which some data have a label, in words."""
    import os

    import pandas as pd

    folder, before = tmp_path_factory.mktemp("some"), Path.cwd()
    os.chdir(folder)
    draw = np.random.default_rng(0)
    x = pd.DataFrame(draw.normal(size=(60, 3)), columns=["a", "b", "c"])
    x.assign(species=draw.choice(["cat", "dog", "eel"], 60)).to_csv("own.csv", index=False)
    words = [w for w in CONDITIONAL if "with_labels" not in w and not w.startswith(("model=", "guide="))]
    data = ("dataset=csv", "dataset.path=own.csv", "dataset.label=species", "dataset.labelled=20")
    try:
        assert (
            main(["train", *words, *data, "model=semi_supervised", "guide=semi_supervised", "hydra.run.dir=run"]) == 0
        )
    finally:
        os.chdir(before)
    return folder


@pytest.mark.parametrize("word", ["y=1", "label=1", "y=dog", "label=dog", "species=dog", "species=[dog,dog,1,dog]"])
def test_labels_of_which_data_have_some_are_given_by_name_or_code(cli, some_labelled, word):
    run = some_labelled / "run"
    called = cli("generate", f"run={run}", "n=4", f"given.{word}", "figures=false")
    assert called.code == 0, called.err
    found = samples(run)
    assert {name: values.tolist() for name, values in found.items() if name != "x"} == {"y": [1] * 4}
    opened = Run.load(run)
    expected = opened.spec.restore(generate(opened.vae, 4, given={"y": 1}, seed=0)["x"])
    assert np.array_equal(found["x"], expected.numpy())


@pytest.mark.parametrize("key", ["y", "label", "species"])
@pytest.mark.parametrize("value", ["2.5", "3", "-1", "nan", "cow", "[dog,cow,dog,dog]"])
def test_what_is_no_class_of_data_that_have_some_labels(cli, some_labelled, tmp_path, key, value):
    shutil.copytree(some_labelled / "run", tmp_path / "run")
    (tmp_path / "run" / "samples.npz").unlink(missing_ok=True)
    called = cli("generate", "run=run", "n=4", f"given.{key}={value}", "figures=false")
    assert called.code == 1
    assert "expected a class from 0 to 2, or one of cat, dog, eel" in called.err
    assert not (tmp_path / "run" / "samples.npz").exists()


def test_pictures_of_grey_levels_are_not_cut_off_at_one(cli, tmp_path, monkeypatch):
    """Levels 0, …, 255 of colour images with the channels last, as users have them: shown as shares of 255."""
    from ppl_vae import plots as figures

    x = np.random.default_rng(0).integers(20, 120, (40, 6, 6, 3)).astype(np.uint8)
    np.savez("colour.npz", x=x)
    words = [word for word in CONDITIONAL if "dataset" not in word and not word.startswith(("model=", "guide="))]
    data = ("dataset=npz", "dataset.path=colour.npz", "dataset.scaling=none", "hydra.run.dir=run")
    called = cli("train", *words, *data)
    assert called.code == 0, called.err
    drawn = {}
    monkeypatch.setattr(figures, "image_grid", lambda images, *_: drawn.update(x=images))
    for words in (("generate", "n=5"), ("interpolate", "start=[0]", "end=[1]", "steps=5")):
        drawn.clear()
        called = cli(words[0], "run=run", *words[1:])
        assert "x" in drawn, called
        assert drawn["x"].shape == (5, 3, 6, 6)
        assert 20 / 255 < drawn["x"].mean() < 120 / 255
    with np.load("run/interpolated.npz") as file:
        assert np.allclose(drawn["x"], file["x"][0] / 255, rtol=1e-5)
