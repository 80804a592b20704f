"""Every option of the groups model, guide and likelihood holds what differs from its target's signature."""

import inspect
from pathlib import Path

import pytest
import yaml

import ppl_vae as pv

CONF = Path(__file__).resolve().parents[2] / "conf"
PAPERS = {"burda_1layer", "burda_2layer"}  # architectures of a paper, not our defaults
OPTIONS = sorted(path for group in ("model", "guide", "likelihood") for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("path", OPTIONS, ids=lambda p: f"{p.parent.name}={p.stem}")
def test_option_holds_what_differs_from_the_signature(path):
    config = yaml.safe_load(path.read_text())
    _, room, name = config.pop("_target_").split(".")
    own = inspect.signature(getattr(getattr(pv, room), name)).parameters
    assert set(config) <= set(own)
    for key, value in config.items():
        default = own[key].default
        assert value != (list(default) if isinstance(default, tuple) else default), key


@pytest.mark.parametrize("path", OPTIONS, ids=lambda p: f"{p.parent.name}={p.stem}")
def test_option_says_what_it_is(path):
    first, *rest = path.read_text().splitlines()
    assert first.startswith("# ")
    if path.stem not in PAPERS:
        assert all("#" in line for line in rest if not line.startswith("_target_"))


def test_every_family_has_an_option():
    targets = {yaml.safe_load(path.read_text())["_target_"].split(".")[-1] for path in OPTIONS}
    assert {n for n in dir(pv.models) if n[0].isupper()} - {"Latent"} <= targets  # which takes parts, not keys
    assert {n for n in dir(pv.guides) if n[0].isupper()} <= targets
