"""Every option of the groups model, guide and likelihood names all keys of its target, at their defaults."""

import inspect
from pathlib import Path

import pytest
import yaml

import ppl_vae as pv

CONF = Path(__file__).resolve().parents[2] / "conf"
GIVEN = {"spec", "likelihood", "model", "encoder", "head"}  # built from the dataset, or for Python alone
PAPERS = {"burda_1layer", "burda_2layer"}  # architectures of a paper, not our defaults
OPTIONS = sorted(path for group in ("model", "guide", "likelihood") for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("path", OPTIONS, ids=lambda p: f"{p.parent.name}={p.stem}")
def test_option_names_all_keys(path):
    config = yaml.safe_load(path.read_text())
    _, room, name = config.pop("_target_").split(".")
    target = getattr(getattr(pv, room), name)
    own = {k: v for k, v in inspect.signature(target).parameters.items() if k not in GIVEN}
    assert set(config) == set(own)
    if path.stem not in PAPERS:
        defaults = {k: list(v.default) if isinstance(v.default, tuple) else v.default for k, v in own.items()}
        assert config == defaults


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
