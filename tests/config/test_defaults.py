"""A default is the same at the Python door and on the command line: each is held to the signature."""

import inspect

import pytest
from omegaconf import OmegaConf

import ppl_vae as pv
from ppl_vae.config import schema
from ppl_vae.config.targets import locate, parameters
from ppl_vae.diagnostics import calibrate
from ppl_vae.training import fit

CONF = schema.conf_dir()
DOORS = {
    "trainer": (schema.Trainer, fit),
    "train": (schema.Train, fit),
    "results, evaluated": (schema.Results, pv.evaluate),
    "results, drawn": (schema.Results, pv.posterior),
    "evaluate": (schema.Evaluate, pv.evaluate),
    "posterior": (schema.Posterior, pv.posterior),
    "generate": (schema.Generate, pv.generate),
    "gradients": (schema.Gradients, pv.gradients),
    "calibrate": (schema.Calibrate, calibrate),
}
"""What the command line knows, and the function it calls."""

OF_OTHER_MEANING = {"data", "objective", "optimizer", "scheduler", "resume"}
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
    if dataclass is schema.Generate:
        different.pop("seed", None)  # in Python None goes on with the caller's random state
    assert not different


@pytest.mark.parametrize("verb", schema.verbs())
def test_the_files_repeat_the_schema(verb):
    ours = OmegaConf.to_container(OmegaConf.structured(schema.SCHEMAS[verb]), enum_to_str=True)
    loaded = OmegaConf.to_container(OmegaConf.load(CONF / f"{verb}.yaml"))
    assert isinstance(loaded, dict)
    for key in loaded.keys() - {"defaults", "hydra", "name"}:
        assert loaded[key] == ours[key], key


def test_the_file_of_the_trainer_repeats_the_schema():
    ours = OmegaConf.to_container(OmegaConf.structured(schema.Trainer))
    loaded = OmegaConf.to_container(OmegaConf.load(CONF / "trainer" / "default.yaml"))
    assert loaded.items() <= ours.items()


DIFFERENT = {
    "model/burda_1layer": {"latent_dim", "hidden", "activation"},
    "model/burda_2layer": {"latent_dim", "hidden", "depth", "activation"},
    "guide/burda_1layer": {"hidden", "activation"},
    "guide/burda_2layer": {"hidden", "depth", "activation"},
    "estimator/antithetic": {"antithetic"},
    "estimator/concrete": {"temperature"},
    "estimator/leave_one_out": {"baseline"},
    "estimator/score_function_average": {"baseline"},
    "estimator/score_function_neural": {"baseline"},
    "estimator/straight_through": {"straight_through"},
    "objective/beta_vae": {"kl", "beta"},
    "objective/capacity": {"capacity"},
    "objective/elbo_analytic": {"kl"},
    "optimizer/rmsprop": {"lr"},
    "optimizer/sgd": {"lr", "momentum"},
}
"""What makes an option another than its target as it comes."""

OPTIONS = [(g, p.stem) for g in (*schema.GROUPS, "logger") for p in sorted((CONF / g).glob("*.yaml"))]


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=[f"{g}-{o}" for g, o in OPTIONS])
def test_an_option_says_what_its_target_has_by_default_but_for_what_makes_it(group, option):
    node = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{option}.yaml")) or {}
    assert isinstance(node, dict)
    found = parameters(locate(node["_target_"], group)) if "_target_" in node else {}

    def own(key):
        value = found[key].default
        return list(value) if isinstance(value, tuple) else value

    keys = {k for k in found if k in node and node[k] != "???"}
    assert {k for k in keys if node[k] != own(k)} == DIFFERENT.get(f"{group}/{option}", set())
