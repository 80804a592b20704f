"""A default is the same at the Python door and on the command line: each is held to the signature."""

import inspect

import pytest
from omegaconf import OmegaConf

import ppl_vae as pv
from ppl_vae.config import keys, schema, verbs
from ppl_vae.config.locate import locate
from ppl_vae.config.signature import defaults
from ppl_vae.config.targets import parameters
from ppl_vae.diagnostics import calibrate
from ppl_vae.training import fit

CONF = schema.conf_dir()
DOORS = {
    "trainer": (keys.Trainer, fit),
    "train": (keys.Train, fit),
    "results, evaluated": (keys.Results, pv.evaluate),
    "results, drawn": (keys.Results, pv.posterior),
    "evaluate": (keys.Evaluate, pv.evaluate),
    "posterior": (keys.Posterior, pv.posterior),
    "generate": (keys.Generate, pv.generate),
    "gradients": (keys.Gradients, pv.gradients),
    "calibrate": (keys.Calibrate, calibrate),
}
"""What the command line knows, and the function it calls."""

OF_OTHER_MEANING = {"data", "objective", "optimizer", "scheduler", "resume", "callbacks"}
"""Names of both: a number of data and the data themselves, a group and an object, a path and a switch."""


def default(function, name):
    found = inspect.signature(function).parameters.get(name)
    return None if found is None or found.default is inspect.Parameter.empty else found.default


@pytest.mark.parametrize(("dataclass", "function"), DOORS.values(), ids=DOORS)
def test_the_command_line_has_the_defaults_of_python(dataclass, function):
    ours = OmegaConf.to_container(OmegaConf.structured(dataclass))
    shared = (set(ours) & set(inspect.signature(function).parameters)) - OF_OTHER_MEANING
    assert shared
    nothing = (None, {}, [])
    pairs = {k: (ours[k], default(function, k)) for k in shared}
    different = {k: (a, b) for k, (a, b) in pairs.items() if a != b and not (a in nothing and b in nothing)}
    if dataclass is keys.Generate:
        different.pop("seed", None)  # in Python None goes on with the caller's random state
    assert not different


FILES = sorted(path for path in CONF.rglob("*.yaml") if "hydra" not in path.relative_to(CONF).parts)
VERBS = [CONF / f"{verb}.yaml" for verb in schema.verbs()]


def repeated(node, own, path=""):
    """The keys of a file that say what the target or the dataclass says by itself."""
    target = node.get("_target_")
    if isinstance(target, str) and target.startswith("ppl_vae."):
        own = defaults(target)
    found = []
    for key, value in node.items():
        if isinstance(value, dict):
            found += repeated(value, own.get(key) if isinstance(own.get(key), dict) else {}, f"{path}{key}.")
        elif key in own and own[key] == value and type(own[key]) is type(value):
            found.append(f"{path}{key}")
    return found


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(CONF).with_suffix("")) for p in FILES])
def test_a_file_holds_what_differs(path):
    node = OmegaConf.to_container(OmegaConf.load(path)) or {}
    assert isinstance(node, dict)
    own = OmegaConf.to_container(OmegaConf.structured(verbs.SCHEMAS[path.stem if path in VERBS else "train"]))
    assert isinstance(own, dict)
    assert repeated(node, own[path.parent.name] if path.parent.name in ("trainer", "engine") else own) == []


def test_what_repeats_is_found():
    beta = {"_target_": "ppl_vae.schedules.linear", "start": 0.0, "unit": "steps"}
    node = {"objective": {"_target_": "ppl_vae.objectives.ELBO", "kl": "auto", "beta": beta}, "seed": 0}
    assert repeated(node, {"seed": 0}) == ["objective.kl", "objective.beta.unit", "seed"]


OF_TORCH = {"optimizer/rmsprop": {"lr"}, "optimizer/sgd": {"lr", "momentum"}}
"""What makes an option another than its target as it comes."""

OPTIMIZERS = sorted(p.stem for p in (CONF / "optimizer").glob("*.yaml"))


@pytest.mark.parametrize("option", OPTIMIZERS)
def test_an_optimizer_of_torch_has_the_defaults_of_torch_but_for_what_makes_it(option):
    node = OmegaConf.to_container(OmegaConf.load(CONF / "optimizer" / f"{option}.yaml"))
    assert isinstance(node, dict)
    found = parameters(locate(node.pop("_target_"), "optimizer", trusted=True))
    own = {k: list(p.default) if isinstance(p.default, tuple) else p.default for k, p in found.items()}
    assert {k for k in node if node[k] != own[k]} == OF_TORCH.get(f"optimizer/{option}", set())
