"""Programs that differ in anything but the values of their tensors are of different kinds."""

import collections
import dataclasses
import enum
import functools
import itertools
import random
import types
import weakref

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDiagonalNormal, AutoLowRankMultivariateNormal, AutoNormal
from torch import nn

import ppl_vae as pv
from ppl_vae.compile.kind import kind


class Colour(enum.Enum):
    RED, BLUE = 1, 2


@dataclasses.dataclass
class Settings:
    limit: float


class Slotted:
    __slots__ = ("limit",)

    def __init__(self, limit: float) -> None:
        self.limit = limit


def closing_over(limit):
    return lambda x: x.clamp(max=limit)


def with_default(limit):
    def clamp(x, to=limit):
        return x.clamp(max=to)

    return clamp


def of_one_name(limit):
    """Classes of one name and module with other code, as a cell of a notebook that was run again makes them."""
    space = {"__name__": "mine", "nn": nn}
    exec(f"class Net(nn.Module):\n    def forward(self, x):\n        return x.clamp(max={limit})", space)
    return space["Net"]()


def naming(code, **named):
    """A function of somebody's whose globals are those named here."""
    space = {"__name__": "mine", **named}
    exec(code, space)
    return space["clamp"]


def with_global(limit):
    return naming("def clamp(x): return x.clamp(max=limit)", limit=limit)


def with_global_within(limit):
    return naming("def clamp(x): return [(lambda: x.clamp(max=limits[0]))() for _ in '1']", limits=[limit])


def with_module(limit):
    settings = types.ModuleType("settings")
    settings.limit, settings.other = limit, object()
    return naming("def clamp(x): return x.clamp(max=settings.limit)", settings=settings)


def with_helper(limit):
    return naming("def clamp(x): return helped(x)", helped=with_global(limit))


def with_queue(limit):
    return collections.deque([limit])


def hooked(limit):
    net = nn.Linear(2, 2)
    net.register_forward_hook(closing_over(limit))
    return net


def with_keyword(limit):
    def clamp(x, *, to=limit):
        return x.clamp(max=to)

    return clamp


def with_attribute(limit):
    def clamp(x):
        return x.clamp(max=clamp.limit)

    clamp.limit = limit
    return clamp


def of_one_name_and_code(limit):
    """Classes that differ in an attribute of theirs alone."""

    class Net(nn.Module):
        bound = limit

        def forward(self, x):
            return x.clamp(max=self.bound)

    return Net()


def unregistered(limit):
    """Weights that no module knows of, so that no graph is given them."""
    net = nn.Linear(1, 1)
    with torch.no_grad():
        net.weight.fill_(limit)
        net.bias.fill_(0.0)
    return [net]


class Number(float):
    def __repr__(self) -> str:
        return "a number"


class Table(dict):
    pass


def with_own(limit):
    table = Table(a=1)
    table.limit = limit
    return table


SPARSE = {v: torch.tensor([v, 0.0]).to_sparse() for v in (1.0, 2.0)}
KEPT = {v: Settings(v) for v in (1.0, 2.0)}

VALUES = {
    "a keyword's default": with_keyword,
    "a function's attribute": with_attribute,
    "a class's attribute": of_one_name_and_code,
    "weights that are not registered": unregistered,
    "a dictionary's attribute": with_own,
    "a default factory": lambda v: collections.defaultdict(functools.partial(float, v)),
    "a weak reference": lambda v: weakref.ref(KEPT[v]),
    "a weak proxy": lambda v: weakref.proxy(KEPT[v]),
    "a number": lambda v: v,
    "a list": lambda v: [v],
    "a tuple in a dictionary": lambda v: {"limits": (0.0, v)},
    "a set": lambda v: {v, "other"},
    "a closure": closing_over,
    "a default": with_default,
    "a global": with_global,
    "a global of a function within": with_global_within,
    "a module's global": with_module,
    "a helper's global": with_helper,
    "a namespace": lambda v: types.SimpleNamespace(limit=v),
    "a queue": with_queue,
    "a counter": lambda v: itertools.count(int(v)),
    "a partial": lambda v: functools.partial(torch.clamp, max=v),
    "a method": lambda v: Slotted(v).__init__,
    "a dataclass": Settings,
    "an object with slots": Slotted,
    "a tensor": lambda v: torch.tensor([v]),
    "half precision": lambda v: torch.tensor(v, dtype=torch.bfloat16),
    "an array": lambda v: np.array([v]),
    "a dtype": lambda v: torch.float32 if v == 1.0 else torch.float64,
    "an enumeration": lambda v: Colour.RED if v == 1.0 else Colour.BLUE,
    "a class": lambda v: nn.ReLU if v == 1.0 else nn.Tanh,
    "a distribution": lambda v: dist.Normal(0.0, v),
    "modules in a list": lambda v: [nn.Dropout(v / 4)],
    "a sparse tensor": lambda v: SPARSE[v],
    "a child": lambda v: nn.LeakyReLU(v),
    "code": of_one_name,
    "a function of a package": lambda v: torch.relu if v == 1.0 else torch.tanh,
}


def holding(value):
    net = nn.Linear(2, 3)
    net.value = value
    return net


@pytest.mark.parametrize("name", VALUES)
def test_what_a_module_holds_tells_kinds_apart(name):
    make = VALUES[name]
    assert kind(holding(make(1.0))) == kind(holding(make(1.0)))
    assert hash(kind(holding(make(1.0)))) == hash(kind(holding(make(1.0))))
    assert kind(holding(make(1.0))) != kind(holding(make(2.0)))


def generated(rng, depth=0):
    """A value of nested containers, as a function that makes equal ones."""
    leaf = [
        lambda: rng.choice([0, 1, True, False, 0.0, -0.0, 1.0, float("nan"), None, "", "1", "a"]),
        lambda: torch.randn(rng.randint(0, 2), generator=torch.Generator().manual_seed(rng.randint(0, 2))),
        lambda: np.arange(rng.randint(0, 2), dtype=rng.choice(["f4", "f8", "i8"])),
    ]
    if depth == 3 or rng.random() < 0.4:
        return rng.choice(leaf)()
    some = [generated(rng, depth + 1) for _ in range(rng.randint(0, 2))]
    return rng.choice([tuple, list, lambda v: dict(enumerate(v)), lambda v: dict(zip("ba", v, strict=False))])(some)


def written(value):
    """All of a generated value, in words."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return f"{type(value).__name__} {value.dtype} {value.tolist()}"
    if isinstance(value, dict):
        return f"dict {[(written(k), written(v)) for k, v in value.items()]}"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__} {[written(v) for v in value]}"
    return f"{type(value).__name__} {value!r}"


def test_kinds_are_equal_exactly_where_all_that_is_held_is_equal():
    found: dict[object, str] = {}
    words: dict[str, object] = {}
    for seed in range(2_000):
        value = generated(random.Random(seed))
        told, name = kind(holding(value)), written(value)
        assert found.setdefault(told, name) == name
        assert words.setdefault(name, told) == told
    assert len(found) > 300


@pytest.mark.parametrize(
    "make", [lambda: Number(1.0), lambda: np.random.default_rng(0), lambda: iter([1]), lambda: torch.empty(2**24 + 1)]
)
def test_what_nobody_can_look_into_is_like_nothing_but_itself(make):
    assert kind(holding(make())) != kind(holding(make()))
    net = holding(make())
    assert kind(net) == kind(net)
    assert not kind(net).is_ours


def test_globals_of_packages_are_not_looked_at():
    """All of torch can be reached by those of one function of it."""
    assert len(repr(kind(nn.functional.dropout).told)) < 2_000


def test_hooks_tell_kinds_apart():
    assert kind(hooked(1.0)) == kind(hooked(1.0))
    assert kind(hooked(1.0)) != kind(hooked(2.0))


def test_tensors_that_are_given_to_a_graph_count_by_their_shape_wherever_they_are_met():
    def tied(seed):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        net.all = [net[0].weight, net[1].bias]
        return net

    assert kind(tied(0)) == kind(tied(1))
    shared = tied(1)
    shared[1].weight = shared[0].weight
    assert kind(tied(0)) != kind(shared)
    frozen = tied(1)
    frozen[0].weight.requires_grad_(False)
    assert kind(tied(0)) != kind(frozen)


def test_whose_code_it_is():
    assert kind(nn.Linear(2, 2), torch.relu).is_ours
    assert not kind(of_one_name(1.0)).is_ours
    assert not kind(holding(closing_over(1.0))).is_ours


PAIRS = {
    "plain": lambda spec: (model := pv.models.VAE(spec), pv.guides.Amortized(spec, model)),
    "flows": lambda spec: (model := pv.models.VAE(spec, prior=pv.nn.FlowPrior), pv.guides.FlowAmortized(spec, model)),
    "pseudo-inputs": lambda spec: (model := pv.models.Vamp(spec), pv.guides.VampPosterior(model)),
    "a hierarchy": lambda spec: (model := pv.models.Hierarchical(spec), pv.guides.Ladder(spec, model)),
    "derived": lambda spec: (model := pv.models.VAE(spec), pv.guides.Derived(model, hidden=[4])),
}


@pytest.mark.parametrize("name", PAIRS)
def test_seeds_of_a_ready_made_pair_are_of_one_kind_before_and_after_training(name):
    data = pv.datasets.load("digits")
    pairs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        pairs.append(pv.VAE(*PAIRS[name](data.spec)))
        pv.prepare(pairs[-1], next(data.train.batches(32)))
    assert kind(pairs[0]) == kind(pairs[1])
    assert kind(pairs[0]).is_ours
    pv.fit(pairs[1], data.train[:64], epochs=1, progress=False)
    pairs[0].train(pairs[1].training)
    assert kind(pairs[0]) == kind(pairs[1])


@pytest.mark.parametrize("autoguide", [AutoNormal, AutoDiagonalNormal, AutoLowRankMultivariateNormal])
def test_autoguides_of_two_seeds_are_of_one_kind(autoguide):
    """What an autoguide drew in its first look at its model tells shapes alone."""

    def model(x):
        scale = pyro.sample("scale", dist.Gamma(2.0, 2.0).expand([3]).to_event(1))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(0.0, scale).to_event(1), obs=x)

    def made(seed):
        torch.manual_seed(seed)
        vae = pv.VAE(model, autoguide(model))
        pv.prepare(vae, torch.randn(8, 3))
        return vae

    assert kind(made(0)) == kind(made(1))
    assert not kind(made(0)).is_ours
