"""`init=DIR`: a run of its own begins with another one's weights."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from ppl_vae.runs.run import Run
from tests.cli.small import SMALL


def started(cli, name, *words):
    called = cli("train", *SMALL, f"hydra.run.dir={name}", *words)
    assert called.code == 0, called.err
    return Run.load(called.folder / name)


def test_it_begins_where_the_other_ended_and_names_it(cli):
    first = started(cli, "first", "trainer.epochs=3")
    second = started(cli, "second", "init=first", "optimizer.lr=1e-9", "seed=5", "trainer.epochs=1")
    weights, others = (load_file(run.directory / "model.safetensors") for run in (first, second))
    assert all(torch.allclose(weights[name], others[name], atol=1e-6) for name in weights)
    assert second.record["parent"] == {"run": str(first.directory), "epochs": 3}
    assert second.config.init == str(first.directory)
    kept = max(first.metrics["validation/elbo"])
    assert abs(second.metrics["validation/elbo"].iloc[0] - kept) < 0.5


def test_it_goes_on_without_the_other(cli):
    started(cli, "first", "trainer.epochs=1")
    started(cli, "second", "init=first", "trainer.epochs=1")
    shutil.rmtree("first")
    called = cli("train", "resume=second", "trainer.epochs=2", "format=json")
    assert called.code == 0, called.err
    assert json.loads(called.out)["epochs"] == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("init=nowhere",), "nowhere"),
        (("init=first", "model.latent_dim=3"), "its weights are not those of this pair"),
    ],
)
def test_what_has_no_such_weights_is_refused_and_leaves_nothing(cli, words, told):
    started(cli, "first", "trainer.epochs=1")
    called = cli("train", *SMALL, *words, "hydra.run.dir=second")
    assert called.code == 1, called.err
    assert told in called.err
    assert not (called.folder / "second").exists()


SETTINGS = {
    "a size": (("model.latent_dim=3",), "model.latent_dim 2 where it has 3; ", "model.latent_dim=3"),
    "a list": (("model.hidden=[5,6]", "model.activation=tanh"), "model.hidden [4] where it has [5,6]", None),
    "a part": (("prior=mixture", "prior.components=3"), "prior none where it has Mixture", None),
    "a family": (("model=gmvae", "guide=gmvae"), "model VAE where it has GMVAE; ", None),
}


@pytest.mark.parametrize(("words", "told", "typed"), SETTINGS.values(), ids=SETTINGS)
def test_settings_that_differ_are_told_and_what_to_type(cli, words, told, typed):
    """Weights come from the other run, its settings do not."""
    started(cli, "first", "trainer.epochs=1", *words)
    called = cli("train", *SMALL, "init=first", "hydra.run.dir=second")
    assert called.code == 1, called.err
    assert told.removesuffix("; ") in called.err
    assert "size mismatch" not in called.err
    assert "state_dict" not in called.err
    advised = called.err.strip().rpartition("Type ")[2]
    assert typed in (advised, None)
    called = cli("train", *SMALL, *advised.split(" "), "init=first", "hydra.run.dir=second")
    assert called.code == 0, called.err


def test_data_that_differ_are_told(cli):
    started(cli, "first", "trainer.epochs=1")
    called = cli("train", *SMALL, "dataset.columns=4", "init=first", "hydra.run.dir=second")
    assert called.code == 1, called.err
    assert "Got data with shape [4] where its have [3]" in called.err


def test_jobs_of_a_sweep_begin_with_it_each(cli):
    started(cli, "first", "trainer.epochs=1")
    for launcher in ("basic", "batched"):
        words = ("-m", "seed=0,1", "init=first", "trainer.epochs=1", f"hydra/launcher={launcher}")
        called = cli("train", *SMALL, *words, f"hydra.sweep.dir={launcher}")
        assert called.code == 0, called.err
        for job in (0, 1):
            assert Run.load(called.folder / launcher / str(job)).record["parent"]["epochs"] == 1
