"""Every option of conf/objective builds an objective."""

import inspect
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import ppl_vae as pv
from ppl_vae.config.schema import conf_dir
from ppl_vae.config.targets import build, check
from tests.oracles import linear_gaussian

FILES = sorted((conf_dir() / "objective").glob("*.yaml"))


def read(path: Path) -> dict:
    whole = OmegaConf.create({"model": {"latent_dim": 2}, "objective": OmegaConf.load(path)})
    return OmegaConf.to_container(whole, resolve=True)["objective"]


def test_there_is_an_option_for_every_objective() -> None:
    named = {read(path)["_target_"].rpartition(".")[2] for path in FILES}
    objectives = {
        name
        for name in pv.objectives.__all__
        if isinstance(getattr(pv.objectives, name), type)
        and name != "Bound"
        and not inspect.isabstract(getattr(pv.objectives, name))
    }
    assert named == objectives


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_option(path: Path) -> None:
    node = read(path)
    objective = build("objective", check("objective", node))
    oracle = linear_gaussian(orthogonal=True)
    bound = objective(pv.VAE(*oracle.pair(diagonal=True)), oracle.x)
    assert bool(torch.isfinite(bound.value))
