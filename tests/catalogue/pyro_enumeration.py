"""Groups of Pyro's catalogue about finite sites: enumerated in the guide, in the model, in plates and along chains."""

from collections import defaultdict

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.ops.indexing import Vindex
from torch.distributions import constraints

from catalogue.pyro_group import group, groups
from catalogue.pyro_structure import SHAPE, chance, coin

PARALLEL = {"enumerate": "parallel"}
ENUM = ("TraceEnum",)


def enumerated(x, size):
    """`x`, whose first axis is its enumeration: the program relies on it."""
    assert x.shape[:1] == (size,)
    return x


def nothing(*_):
    """The guide of a model whose latent sites are all summed out."""


def table(name, *shape):
    """A conditional probability table, every row another one."""
    entries = torch.arange(1.0, 1.0 + torch.Size(shape).numel()).reshape(shape).sin().exp()
    return pyro.param(f"table_{name}", entries / entries.sum(-1, keepdim=True), constraint=constraints.simplex)


@groups(
    "enum_discrete_misuse_warning",
    {"None": (None,), "sequential": ("sequential",), "parallel": ("parallel",)},
    pyro="warning",
    **{"None": {"elbos": ENUM}, "sequential": {"elbos": ("Trace",)}, "parallel": {"elbos": ("Trace",)}},
    note="Pyro warns that mark and ELBO do not go together; here the ELBO is one.",
)
def _(mark):
    def guide():
        pyro.sample("x", dist.Bernoulli(chance()), infer={"enumerate": mark})

    return lambda: coin("x", 0.4), guide


@group("enum_discrete_single_ok", elbos=ENUM)
def _():
    return lambda: coin("x", 0.4), config_enumerate(lambda: coin("x", chance()))


@group("enum_discrete_missing_config_warning", elbos=ENUM, pyro="warning")
def _():
    return lambda: coin("x", 0.4), lambda: coin("x", chance())


@group("enum_discrete_single_single_ok", elbos=ENUM)
def _():
    def program(p):
        coin("x", p)
        coin("y", p)

    return lambda: program(0.4), config_enumerate(lambda: program(chance()))


@group("enum_discrete_iplate_single_ok", elbos=ENUM)
def _():
    def program(p):
        for i in pyro.plate("turns", 6, 3):
            coin(f"x_{i}", p)

    return lambda: program(0.4), config_enumerate(lambda: program(chance()))


@group("plate_enum_discrete_batch_ok", elbos=ENUM)
def _():
    def program(p):
        with pyro.plate("rows", 6, 3) as index:
            pyro.sample("x", dist.Bernoulli(p).expand_by([len(index)]))

    return lambda: program(0.4), config_enumerate(lambda: program(chance()))


@group("plate_enum_discrete_no_discrete_vars_warning", elbos=ENUM, pyro="warning")
def _():
    def program(loc):
        with pyro.plate("rows", 6, 3) as index:
            pyro.sample("x", dist.Normal(loc, 1.0).expand_by([len(index)]))

    guide = config_enumerate(lambda: program(pyro.param("loc", torch.tensor(0.5))), default="sequential")
    return lambda: program(torch.tensor(0.0)), guide


@group("no_plate_enum_discrete_batch_error", elbos=ENUM, pyro="illegal", why=SHAPE)
def _():
    def program(p):
        pyro.sample("x", dist.Bernoulli(p).expand_by([3]))

    return lambda: program(0.4), config_enumerate(lambda: program(chance()))


@group("enum_discrete_parallel_ok", elbos=ENUM, oracle="pyro", options={"max_plate_nesting": 1})
def _():
    def guide():
        enumerated(coin("x", chance()), 2)

    return lambda: coin("x", 0.4), config_enumerate(guide, "parallel")


@group("enum_discrete_parallel_nested_ok", elbos=ENUM, oracle="pyro", options={"max_plate_nesting": 1})
def _():
    def program(two, three):
        a = enumerated(pyro.sample("a", dist.OneHotCategorical(two)), 2)
        b = enumerated(pyro.sample("b", dist.OneHotCategorical(three)), 3)
        assert b.dim() > a.dim()

    def guide():
        program(table("two", 2), table("three", 3))

    return lambda: program(torch.tensor([0.3, 0.7]), torch.ones(3) / 3), config_enumerate(guide, "parallel")


WAYS = {
    "None": (None, False, None),
    "sequential": ("sequential", False, None),
    "sequential, expanded": ("sequential", True, None),
    "parallel": ("parallel", False, None),
    "parallel, expanded": ("parallel", True, None),
}
SAMPLES = {"parallel, 3 samples": ("parallel", True, 3)}
DRAWN = {
    "note": "The mark asks for several draws of a site in place of its values; a finite site is summed exactly here.",
}


@groups("enumerate_parallel_plate_ok", WAYS | SAMPLES, elbos=ENUM, oracle="pyro", options={"max_plate_nesting": 2}, **{
    "None": {"pyro": "warning"}, "parallel, 3 samples": DRAWN,
})  # fmt: skip
def _(mark, expand, samples):
    def program(a, b, c):
        sizes = [pyro.sample("a", dist.Categorical(a)).shape[:1]]
        with pyro.plate("outer", 2):
            sizes.append(pyro.sample("b", dist.Categorical(b)).shape[:1])
            with pyro.plate("inner", 3):
                sizes.append(pyro.sample("c", dist.Categorical(c)).shape[:1])
        if mark == "parallel" and not samples:
            assert sizes == [(2,), (3,), (2,)], "the program relies on its enumeration"

    def guide():
        program(table("a", 2), table("b", 2, 3), table("c", 3, 2, 2))

    marked = config_enumerate(guide, mark, expand=expand, num_samples=samples)
    return lambda: program(torch.ones(2), torch.ones(2, 3), torch.ones(3, 2, 2)), marked


MARKS = {"None": (None,), "sequential": ("sequential",), "parallel": ("parallel",)}
BELOW = "(?i)outside|plate|depends"


@groups(
    "enum_discrete_plate_dependency_warning",
    MARKS,
    elbos=ENUM,
    pyro="warning",
    **{
        "None": {"pyro": "legal", "ours": "refused", "why": BELOW, "note": "y depends on a part of the data alone."},
        "parallel": {"ours": "refused", "why": BELOW},
        "sequential": {"ours": "refused", "why": BELOW},
    },
)
def _(mark):
    def program(p):
        pyro.sample("w", dist.Bernoulli(p), infer=PARALLEL)
        with pyro.plate("rows", 6, 3):
            x = pyro.sample("x", dist.Bernoulli(p).expand_by([3]), infer={"enumerate": mark})
        coin("y", 0.2 + 0.6 * p * x.mean())  # below local sites, outside their plate

    return lambda: program(torch.tensor(0.4)), lambda: program(chance())


@groups("enum_discrete_iplate_plate_dependency_ok", MARKS, elbos=ENUM)
def _(mark):
    def program(p):
        pyro.sample("w", dist.Bernoulli(p), infer=PARALLEL)
        rows = pyro.plate("rows", 4, 2)
        for i in pyro.plate("turns", 2):
            coin(f"y_{i}", p)
            with rows:
                pyro.sample(f"x_{i}", dist.Bernoulli(p).expand_by([2]), infer={"enumerate": mark})

    return lambda: program(torch.tensor(0.4)), lambda: program(chance())


@groups(
    "enum_discrete_iplates_plate_dependency_warning",
    MARKS,
    elbos=ENUM,
    pyro="warning",
    **{"None": {"pyro": "legal"}},
    note="Pyro cannot tell that y does not depend on x.",
)
def _(mark):
    def program(p):
        pyro.sample("w", dist.Bernoulli(p), infer=PARALLEL)
        rows = pyro.plate("rows", 4, 2)
        for i in pyro.plate("turns", 2):
            with rows:
                pyro.sample(f"x_{i}", dist.Bernoulli(p).expand_by([2]), infer={"enumerate": mark})
        for i in pyro.plate("rounds", 2):
            coin(f"y_{i}", p)

    return lambda: program(torch.tensor(0.4)), lambda: program(chance())


@group("enum_discrete_plates_dependency_ok", elbos=ENUM, oracle="pyro", options={"max_plate_nesting": 2})
def _():
    def program(p):
        pyro.sample("w", dist.Bernoulli(p), infer=PARALLEL)
        columns, rows = pyro.plate("columns", 4, 2, dim=-1), pyro.plate("rows", 5, 2, dim=-2)
        coin("a", p)
        with columns:
            pyro.sample("b", dist.Bernoulli(p).expand_by([2]))
        with rows:
            pyro.sample("c", dist.Bernoulli(p).expand_by([2, 1]))
        with columns, rows:
            pyro.sample("d", dist.Bernoulli(p).expand_by([2, 2]))

    return lambda: program(torch.tensor(0.4)), lambda: program(chance())


@groups("enum_discrete_non_enumerated_plate_ok", MARKS, elbos=ENUM)
def _(mark):
    def program(p):
        pyro.sample("w", dist.Bernoulli(p), infer=PARALLEL)
        with pyro.plate("drawn", 2):
            a = pyro.sample("a", dist.Bernoulli(p).expand_by([2]), infer={"enumerate": None})
        p = (1.0 + p + a.sum(-1)) / 4.0  # b depends on all of a
        with pyro.plate("rows", 3):
            pyro.sample("b", dist.Bernoulli(p).expand_by([3]), infer={"enumerate": mark})

    return lambda: program(torch.tensor(0.4)), lambda: program(chance())


@groups(
    "enum_discrete_plate_shape_broadcasting_ok",
    WAYS | SAMPLES,
    elbos=ENUM,
    oracle="pyro",
    options={"max_plate_nesting": 3},
    **{
        "parallel, 3 samples": {"ours": "refused", "why": "no finite support", **DRAWN},
        "None": {"pyro": "warning"},
    },
)
def _(mark, expand, samples):
    def program(p, a):
        columns, rows = pyro.plate("columns", 4, 2, dim=-1), pyro.plate("rows", 5, 3, dim=-2)
        with pyro.plate("draws", 2, dim=-3):
            with columns:
                b = pyro.sample("b", dist.Beta(a, torch.tensor(1.1)))
            with rows:
                c = coin("c", p)
            with columns, rows:
                d = coin("d", b * (0.5 + p))
        if mark == "parallel" and not samples:
            enumerated(c, 2)
            enumerated(d, 2)

    guide = config_enumerate(
        lambda: program(chance(), torch.tensor(1.4)), default=mark, expand=expand, num_samples=samples
    )
    return lambda: program(torch.tensor(0.4), torch.tensor(1.1)), guide


@groups(
    "enum_discrete_vectorized_num_particles",
    WAYS | SAMPLES,
    elbos=ENUM,
    oracle="pyro",
    options={"max_plate_nesting": 2},
    particles=3,
    **{
        "parallel, 3 samples": {"ours": "refused", "why": "no finite support", **DRAWN},
        "None": {"pyro": "warning"},
    },
)
def _(mark, expand, samples):
    def program(p, a):
        columns, rows = pyro.plate("columns", 4, 2, dim=-1), pyro.plate("rows", 5, 3, dim=-2)
        with columns:
            b = pyro.sample("b", dist.Beta(a, torch.tensor(1.1)))
        with rows:
            c = coin("c", p)
        with columns, rows:
            d = coin("d", b * (0.5 + p))
        if mark == "parallel" and not samples:
            enumerated(c, 2)
            enumerated(d, 2)

    guide = config_enumerate(
        lambda: program(chance(), torch.tensor(1.4)), default=mark, expand=expand, num_samples=samples
    )
    return lambda: program(torch.tensor(0.4), torch.tensor(1.1)), guide


@group("enum_in_model_ok", elbos=ENUM, oracle="pyro", options={"max_plate_nesting": 0})
def _():
    def model(g):
        p = chance("p", 0.25)
        a = coin("a", p)
        b = coin("b", p + a / 2)
        c = enumerated(pyro.sample("c", dist.Bernoulli(p + b / 2), infer=PARALLEL), 2)
        d = coin("d", p + c / 2)
        e = coin("e", p + d / 2)
        f = enumerated(pyro.sample("f", dist.Bernoulli(p + e / 2), infer=PARALLEL), 2)
        pyro.sample("g", dist.Bernoulli(p + f / 2), obs=g)

    def guide(g):
        p = chance("p", 0.25)
        a = coin("a", p + 0.1)
        b = pyro.sample("b", dist.Bernoulli(p + a / 3), infer=PARALLEL)
        d = coin("d", p + b / 2)
        pyro.sample("e", dist.Bernoulli(p + d / 3), infer=PARALLEL)

    return model, guide, (torch.tensor(0.0),)


@group("enum_in_model_plate_ok", elbos=ENUM, oracle="pyro", options={"max_plate_nesting": 1})
def _():
    def model(g):
        p = chance("p", 0.25)
        a = coin("a", p)
        b = coin("b", p + a / 2)
        with pyro.plate("data", g.shape[0]):
            c = enumerated(pyro.sample("c", dist.Bernoulli(p + b / 2), infer=PARALLEL), 2)
            d = coin("d", p + c / 2)
            e = coin("e", p + d / 2)
            f = enumerated(pyro.sample("f", dist.Bernoulli(p + e / 2), infer=PARALLEL), 2)
            pyro.sample("g", dist.Bernoulli(p + f / 2), obs=g)

    def guide(g):
        p = chance("p", 0.25)
        a = coin("a", p + 0.1)
        b = pyro.sample("b", dist.Bernoulli(p + a / 3), infer=PARALLEL)
        with pyro.plate("data", g.shape[0]):
            d = coin("d", p + b / 2)
            pyro.sample("e", dist.Bernoulli(p + d / 3), infer=PARALLEL)

    return model, guide, (torch.tensor([0.0, 1.0, 0.0]),)


@group(
    "enum_sequential_in_model_error",
    elbos=ENUM,
    pyro="illegal",
    options={"max_plate_nesting": 0},
    why="(?i)sequential",
)
def _():
    def model():
        pyro.sample("a", dist.Bernoulli(chance()), infer={"enumerate": "sequential"})

    return model, nothing


@group("enum_in_model_plate_reuse_ok", elbos=ENUM, options={"max_plate_nesting": 1})
def _():
    @config_enumerate
    def model(b, d):
        p = pyro.param("p", torch.tensor([0.2, 0.7]))
        a = coin("a", 0.3).long()
        with pyro.plate("b_axis", 2):
            pyro.sample("b", dist.Bernoulli(p[a]), obs=b)
        c = coin("c", 0.4).long()
        with pyro.plate("d_axis", 2):
            pyro.sample("d", dist.Bernoulli(p[c]), obs=d)

    return model, nothing, (torch.tensor([0.0, 1.0]), torch.tensor([0.0, 0.0]))


@group(
    "enum_in_model_multi_scale_error",
    elbos=ENUM,
    pyro="illegal",
    options={"max_plate_nesting": 0},
    why="(?i)one scale",
)
def _():
    @config_enumerate
    def model(y):
        x = coin("x", 0.3).long()
        with poutine.scale(scale=2.0):
            pyro.sample("y", dist.Bernoulli(pyro.param("p", torch.tensor([0.2, 0.7]))[x]), obs=y)

    return model, nothing, (torch.tensor(0.0),)


def look_up(array, *index):
    """`array[index]` by plain indexing, the last axis kept."""
    last = torch.arange(array.shape[-1])
    return array[(*(torch.as_tensor(i).unsqueeze(-1) for i in index), last)]


VINDEX = {"indexing": (look_up,), "Vindex": (lambda array, *index: Vindex(array)[index],)}


@groups(
    "enum_in_model_diamond_error",
    VINDEX,
    elbos=ENUM,
    pyro="illegal",
    options={"max_plate_nesting": 2},
    why="(?i)tree",
)
def _(at):
    @config_enumerate
    def model(d):
        columns, rows = pyro.plate("columns", 2, dim=-1), pyro.plate("rows", 2, dim=-2)
        a = pyro.sample("a", dist.Categorical(table("a", 2)))
        with columns:
            b = pyro.sample("b", dist.Categorical(table("b", 2, 2)[a]))
        with rows:
            c = pyro.sample("c", dist.Categorical(table("c", 2, 2)[a]))
        with columns, rows:
            pyro.sample("d", dist.Categorical(at(table("d", 2, 2, 2), b, c)), obs=d)

    return model, nothing, (torch.tensor([[0, 1], [0, 0]]),)


@group("enum_recycling_chain", elbos=ENUM, options={"max_plate_nesting": 0})
def _():
    @config_enumerate
    def model():
        p, x = table("p", 2, 2), 0
        for t in pyro.markov(range(5)):
            x = pyro.sample(f"x_{t}", dist.Categorical(p[x]))
            assert x.dim() <= 3  # two values at a time, and particles
            pyro.sample(f"seen_{t}", dist.Bernoulli(0.2 + x / 2), obs=torch.tensor(1.0))

    return model, nothing


@groups(
    "enum_recycling_dbn",
    {f"{how}, {label}": (how == "markov", *at) for how in ("markov", "range") for label, at in VINDEX.items()},
    elbos=ENUM,
    options={"max_plate_nesting": 0},
)  # fmt: skip
def _(markov, at):
    """A state and an occlusion; each observation has both for parents."""

    @config_enumerate
    def model(z):
        p, q, r, x = table("p", 2, 2), table("q", 2), table("r", 2, 2, 3), 0
        steps = range(3)
        for t in pyro.markov(steps) if markov else steps:
            x = pyro.sample(f"x_{t}", dist.Categorical(p[x]))
            y = pyro.sample(f"y_{t}", dist.Categorical(q))
            pyro.sample(f"z_{t}", dist.Categorical(at(r, x, y)), obs=z[t])

    return model, nothing, (torch.tensor([0, 2, 1]),)


@group("enum_recycling_nested", elbos=ENUM, options={"max_plate_nesting": 0})
def _():
    @config_enumerate
    def model():
        p = table("p", 2, 2)
        y = pyro.sample("x", dist.Categorical(p[0]))
        for i in pyro.markov(range(2)):
            y = z = pyro.sample(f"y_{i}", dist.Categorical(p[y]))
            for j in pyro.markov(range(2)):
                z = pyro.sample(f"z_{i}_{j}", dist.Categorical(p[z]))
                pyro.sample(f"seen_{i}_{j}", dist.Bernoulli(0.2 + z / 2), obs=torch.tensor(1.0))

    return model, nothing


@groups(
    "enum_recycling_grid",
    VINDEX,
    elbos=ENUM,
    options={"max_plate_nesting": 0},
    ours="refused",
    why="(?i)history|axis",
    note="The two parents of a cell share one enumerated axis, so Pyro's number is not the evidence; no history helps.",
)
def _(at):
    @config_enumerate
    def model():
        p, x = table("p", 2, 2, 2), defaultdict(lambda: torch.tensor(0))
        columns = pyro.markov(range(3), keep=True)
        for i in pyro.markov(range(2)):
            for j in columns:
                x[i, j] = pyro.sample(f"x_{i}_{j}", dist.Categorical(at(p, x[i - 1, j], x[i, j - 1])))
                pyro.sample(f"seen_{i}_{j}", dist.Bernoulli(0.2 + x[i, j] / 2), obs=torch.tensor(float(i == j)))

    return model, nothing


TREE = ((True, (False, True)), False)


def _leaf(seen, state, address):
    pyro.sample(f"leaf_{address}", dist.Bernoulli(table("leaf", 2)[state]), obs=torch.tensor(float(seen)))


def _branches(below, data, state, address):
    for branch, letter in zip(data, "abc", strict=False):
        name = f"{address}{letter}"
        below(
            branch, pyro.sample(f"branch_{name}", dist.Categorical(table("branch", 2, 2)[state]), infer=PARALLEL), name
        )


def _walk(history):
    @pyro.markov(history=history)
    def model(data, state=0, address=""):
        if isinstance(data, bool):
            _leaf(data, state, address)
        else:
            _branches(model, data, state, address)

    return model, nothing, (TREE,)


group("enum_recycling_reentrant", elbos=ENUM, options={"max_plate_nesting": 0})(lambda: _walk(1))
groups("enum_recycling_reentrant_history", {"1": (1,), "2": (2,)}, elbos=ENUM, options={"max_plate_nesting": 0})(_walk)


@group("enum_recycling_mutual_recursion", elbos=ENUM, options={"max_plate_nesting": 0})
def _():
    @pyro.markov
    def first(data, state=0, address=""):
        _leaf(data, state, address) if isinstance(data, bool) else _branches(second, data, state, address)

    @pyro.markov
    def second(data, state=0, address=""):
        _leaf(data, state, address) if isinstance(data, bool) else _branches(first, data, state, address)

    return first, nothing, (TREE,)


@group("enum_recycling_interleave", elbos=ENUM, options={"max_plate_nesting": 0})
def _():
    def model():
        with pyro.markov() as outer, pyro.markov(), outer:
            x = pyro.sample("x", dist.Categorical(table("p", 3)), infer=PARALLEL)
            pyro.sample("seen", dist.Bernoulli(0.2 + x / 3), obs=torch.tensor(1.0))

    return model, nothing


@group("enum_recycling_plate", elbos=ENUM, oracle="pyro", options={"max_plate_nesting": 2})
def _():
    @config_enumerate
    def model():
        p, q = table("p", 2, 2), pyro.param("q", torch.tensor([0.3, 0.6]))
        columns, others = pyro.plate("columns", 2, dim=-1), pyro.plate("others", 3, dim=-1)
        rows = pyro.plate("rows", 2, dim=-2)

        def chain(name, steps, seen):
            state = 0
            for t in pyro.markov(range(steps)):
                state = pyro.sample(f"{name}_{t}", dist.Categorical(p[state]))
                pyro.sample(f"{name}_seen_{t}", dist.Bernoulli(0.2 + state / 2), obs=seen)

        a = coin("a", q[0]).long()
        chain("w", 3, torch.tensor(1.0))
        with columns:
            b = coin("b", q[a]).long()
            chain("x", 2, torch.tensor([0.0, 1.0]))
        with others:
            coin("c", q[a])
            chain("y", 2, torch.tensor([1.0, 0.0, 0.0]))
        with rows:
            coin("d", q[a])
            chain("z", 2, torch.tensor([[0.0], [1.0]]))
        with columns, rows:
            coin("e", q[b])

    return model, nothing


@groups(
    "markov_history",
    {"0": (0,), "1": (1,), "2": (2,), "3": (3,)},
    elbos=ENUM,
    options={"max_plate_nesting": 0},
    **{h: {"pyro": "illegal", "why": "(?i)history|conflict"} for h in ("0", "1")},
)
def _(history):
    @config_enumerate
    def model(y):
        p, q = pyro.param("p", torch.tensor([[0.2, 0.5], [0.7, 0.9]])), pyro.param("q", torch.tensor([0.2, 0.6]))
        before = now = torch.tensor(0)
        for t in pyro.markov(range(y.shape[0]), history=history):
            before, now = now, coin(f"x_{t}", p[before, now]).long()
            pyro.sample(f"y_{t}", dist.Bernoulli(q[now]), obs=y[t])

    return model, nothing, (torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0]),)
