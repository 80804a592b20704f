"""State dicts from before guides were made of parts are taken, by a guide and by a pair, and say the same q(z | x).

The fixture holds, of three guides with 4 hidden units, the pair's state, draws z for data x and their log q(z | x), all
written when `Deterministic` had a layer `loc`, `DiscreteAmortized` one `logits`, and `FlowAmortized` its `flows`.
"""

from pathlib import Path

import pytest
import torch
from pyro import poutine
from safetensors.torch import load_file
from torch import nn

import ppl_vae as pv
from ppl_vae.datasets.spec import Spec
from ppl_vae.nn.formerly import former_children, former_name

SAVED = load_file(Path(__file__).parent / "fixtures" / "parts_before.safetensors")
SPEC = Spec((6,), "real")
GUIDES = {
    "Deterministic": (pv.models.VAE, {"latent_dim": 3}, {}),
    "DiscreteAmortized": (pv.models.Discrete, {"latent_dim": 2, "classes": 3}, {}),
    "FlowAmortized": (pv.models.VAE, {"latent_dim": 3}, {"flow_hidden": [5]}),
}
every_guide = pytest.mark.parametrize("name", GUIDES)


def saved(name, part):
    at = f"{name}/{part}"
    return {key.removeprefix(at): value for key, value in SAVED.items() if key.startswith(at)}


def made(name):
    model, of_model, of_guide = GUIDES[name]
    model = model(SPEC, hidden=[4], **of_model)
    return pv.VAE(model, getattr(pv.guides, name)(SPEC, model, hidden=[4], **of_guide))


def assert_same_posterior(name, guide):
    (z,), (log_prob,) = saved(name, "z").values(), saved(name, "log_prob").values()
    fn = poutine.trace(guide).get_trace(SAVED["x"]).nodes["z"]["fn"]
    torch.testing.assert_close(fn.log_prob(z), log_prob)


@every_guide
def test_a_pair_takes_what_it_once_was(name):
    vae, state = made(name), saved(name, "state/")
    given = dict(state)
    vae.load_state_dict(state)
    assert state.keys() == given.keys()  # the caller's own stay as they are
    assert_same_posterior(name, vae.guide)
    now = vae.state_dict()
    assert [former_name(vae, key) for key in now if key.startswith("guide.")] != [k for k in now if "guide." in k]
    assert {former_name(vae, key) for key in now} == state.keys()


@every_guide
def test_a_guide_alone_takes_it(name):
    guide = made(name).guide
    guide.load_state_dict(saved(name, "state/guide."))
    assert_same_posterior(name, guide)


@every_guide
def test_a_pair_takes_what_it_is_now(name):
    old, new = made(name), made(name)
    old.load_state_dict(saved(name, "state/"))
    new.load_state_dict(old.state_dict())
    assert_same_posterior(name, new.guide)


@every_guide
def test_weights_that_are_not_there_are_still_missed(name):
    state = saved(name, "state/")
    del state[max(k for k in state if k.startswith("guide.") and "encoder" not in k)]
    with pytest.raises(RuntimeError, match=r"Missing key.*guide\.z\."):
        made(name).load_state_dict(state)


def test_children_have_their_first_names():
    assert [name for name, _ in former_children(made("FlowAmortized").guide)] == ["base", "flows", "encoder"]
    assert [name for name, _ in former_children(nn.ModuleDict({"a": nn.ReLU()}))] == ["a"]
