"""A recipe tells runs apart by every setting that makes them, and is the same for the same run."""

import dataclasses
import enum
import functools
import inspect
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import RunError
from ppl_vae.training.recipe import changed_data, checksum, describe, describe_data, describe_optimizer, refuse_other
from tests.training.pairs import Guide, Model, dataset

OTHER: dict[str, Any] = {
    "kl": "analytic",
    "weights": {"z": 2.0},
    "sampling": "weighted",
    "kind": "I",
    "per": "site",
    "kernel": "rbf",
    "site": "z",
    "joint": True,
    "hidden": (3,),
    "discriminator": nn.Linear(2, 1),
    "latent_dim": 4,
    "diagonal": 3.0,
    "network": nn.Linear(2, 1),
    "inputs": lambda x: x,
    "baseline": pv.estimators.DecayingAverage(),
}
"""Another value where half of the default, or one more, is none."""


def settings():
    """Each argument of each objective and estimator, with another value than its default."""
    for room in (pv.objectives, pv.estimators):
        for name in room.__all__:
            made = getattr(room, name)
            if not (isinstance(made, type) and issubclass(made, nn.Module)) or inspect.isabstract(made):
                continue
            try:
                made()
            except Exception:
                continue  # what has no defaults is described in the tests below
            for parameter in inspect.signature(made).parameters.values():
                if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                    yield pytest.param(made, parameter, id=f"{name}.{parameter.name}")


def other(parameter):
    default = parameter.default
    if parameter.name in OTHER and not isinstance(default, (int, float)):
        return OTHER[parameter.name]
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return 2 * default or 2
    if isinstance(default, float):
        return default / 2 + 0.125
    raise AssertionError(f"name another value than {default!r} in OTHER")


@pytest.mark.parametrize(("made", "parameter"), list(settings()))
def test_every_setting_of_an_objective_or_estimator_is_in_its_description(made, parameter):
    assert describe(made()) == describe(made())
    assert describe(made()) != describe(made(**{parameter.name: other(parameter)}))


SCHEDULES = {
    "constant": (pv.schedules.constant, (1.0,), (2.0,)),
    "linear": (pv.schedules.linear, (0.0, 1.0, 10), (0.0, 1.0, 11)),
    "linear unit": (pv.schedules.linear, (0.0, 1.0, 10, "steps"), (0.0, 1.0, 10, "epochs")),
    "cyclic": (pv.schedules.cyclic, (0.0, 1.0, 10), (0.0, 1.0, 10, 0.25)),
    "cosine": (pv.schedules.cosine, (0.0, 1.0, 10), (0.5, 1.0, 10)),
    "exponential": (pv.schedules.exponential, (1.0, 0.5, 10), (1.0, 0.25, 10)),
    "cosine of lr": (pv.training.schedulers.cosine, (5,), (6,)),
    "warmup of lr": (pv.training.schedulers.warmup, (5,), (6,)),
    "plateau of lr": (pv.training.schedulers.plateau, (5,), (6,)),
}


@pytest.mark.parametrize(("made", "one", "another"), SCHEDULES.values(), ids=SCHEDULES)
def test_schedules_are_told_apart(made, one, another):
    assert describe(made(*one)) == describe(made(*one))
    assert describe(made(*one)) != describe(made(*another))


def test_a_schedule_that_has_moved_is_the_same():
    moved = pv.schedules.linear(0.0, 1.0, 10)
    moved.advance(5, 0)
    assert describe(moved) == describe(pv.schedules.linear(0.0, 1.0, 10))


def closure(beta):
    def objective(vae, batch, total=None):
        return beta

    return objective


@dataclasses.dataclass
class Settings:
    beta: float
    names: tuple[str, ...] = ()


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Named:
    def __init__(self, beta, rest=None):
        self._beta, self.rest, self.calls = beta, rest, 0


SAME_AND_OTHER = {
    "closures": (lambda: closure(1.0), lambda: closure(2.0)),
    "lambdas": (lambda: lambda o: (o, 10), lambda: lambda o: (o, 20)),
    "partials": (lambda: functools.partial(closure, beta=1.0), lambda: functools.partial(closure, beta=2.0)),
    "dataclasses": (lambda: Settings(1.0), lambda: Settings(1.0, ("a",))),
    "private attributes": (lambda: Named(1.0), lambda: Named(2.0)),
    "arrays": (lambda: Named(1, np.ones(3)), lambda: Named(1, np.zeros(3))),
    "sets": (lambda: {"a", "b"}, lambda: {"a", "c"}),
    "bound methods": (lambda: Named(1.0).__init__, lambda: Named(2.0).__init__),
    "activations": (lambda: nn.Sequential(nn.ReLU()), lambda: nn.Sequential(nn.Tanh())),
    "programs": (lambda: pv.VAE(Model(), Guide()).guide, lambda: pv.VAE(Model(), Guide(dropout=True)).guide),
    "enumerations": (lambda: Colour.RED, lambda: Colour.BLUE),
    "long lists": (lambda: [0.5] * 10**5, lambda: [0.5] * 10**5 + [1.0]),
    "infinities": (lambda: float("inf"), lambda: float("-inf")),
}


@pytest.mark.parametrize(("same", "another"), SAME_AND_OTHER.values(), ids=SAME_AND_OTHER)
def test_descriptions_are_json_and_tell_apart(same, another):
    described = describe(same())
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert len(json.dumps(described)) < 1000
    assert described == describe(same())
    assert described != describe(another())


def test_what_counts_while_training_is_no_setting():
    one, moved = Named(1.0), Named(1.0)
    moved.calls = 7
    assert describe(one) == describe(moved)
    assert describe(nn.BatchNorm1d(3)) == describe(nn.BatchNorm1d(3).eval())


def test_what_holds_itself_ends():
    knot = Named(1.0)
    knot.rest = knot
    assert describe(knot)["rest"] == "…"


def test_an_optimizer_is_told_by_its_options_and_not_by_how_it_works():
    parameters = [nn.Parameter(torch.ones(2))]
    plain, fused = (torch.optim.Adam(parameters, fused=fused) for fused in (False, True))
    assert describe_optimizer(plain) == describe_optimizer(fused)
    assert describe_optimizer(plain) != describe_optimizer(torch.optim.Adam(parameters, weight_decay=0.1))


def test_data_are_told_by_their_content():
    was = describe_data(dataset().train)
    assert was == describe_data(dataset().train)
    for change, how in (
        ({"flip": (3, 2)}, "other values"),
        ({"train": 49}, "49 data, which were 50"),
        ({"binarization": "dynamic"}, "float32"),
    ):
        assert how in changed_data(was, describe_data(dataset(**change).train))
    assert describe_data(dataset(validation=0).validation) is None
    assert changed_data(None, was) == "50 data, which were 0"


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.bfloat16, torch.float64, torch.complex64]
)
def test_tensors_of_every_kind_have_a_checksum(dtype):
    one, another = torch.tensor([0, 1, 1]).to(dtype), torch.tensor([1, 0, 1]).to(dtype)
    assert checksum(one) == checksum(one.clone())
    assert checksum(one)["sha256"] != checksum(another)["sha256"]
    assert checksum(one[:0])["shape"] == [0]


def test_other_runs_are_refused_by_the_name_of_what_differs():
    was = {"seed": 1, "objective": describe(pv.objectives.ELBO()), "data": {}}
    refuse_other(was, was, "run")
    with pytest.raises(RunError, match=r"objective\.num_particles 4 .* expected 1 as it was begun with"):
        refuse_other(was, {**was, "objective": describe(pv.objectives.ELBO(4))}, "run")
    with pytest.raises(RunError, match=r"objective IWAE .* expected ELBO"):
        refuse_other(was, {**was, "objective": describe(pv.objectives.IWAE())}, "run")
