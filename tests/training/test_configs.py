"""Every config of an optimizer, a schedule and a trainer can be used."""

import inspect
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import ppl_vae as pv
from ppl_vae.config.targets import build, check
from tests.training.pairs import dataset, pair

CONF = Path(__file__).resolve().parents[2] / "conf"


def configs(group):
    return [pytest.param(path, id=path.stem) for path in sorted((CONF / group).glob("*.yaml"))]


def load(path):
    return OmegaConf.to_container(OmegaConf.load(path), resolve=True) or {}


def made(path):
    return build(path.parent.name, check(path.parent.name, load(path)))


@pytest.mark.parametrize("path", configs("optimizer"))
def test_optimizer(path):
    history = pv.fit(pair(), dataset(), optimizer=made(path), epochs=2, progress=False)
    assert history["lr"][0] == load(path)["lr"]


@pytest.mark.parametrize("path", configs("scheduler"))
def test_scheduler(path):
    assert len(pv.fit(pair(), dataset(), scheduler=made(path), epochs=2, progress=False)) == 2


@pytest.mark.parametrize("path", configs("trainer"))
def test_trainer(path):
    keys = load(path)
    parameters = inspect.signature(pv.fit).parameters
    assert keys.keys() <= parameters.keys()
    epochs = keys.pop("epochs", 2)
    assert len(pv.fit(pair(), dataset(), progress=False, epochs=epochs, **keys)) == epochs
