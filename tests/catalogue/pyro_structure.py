"""Groups of Pyro's catalogue about sites, plates in every combination, and shapes."""

import functools

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.plate_messenger import block_plate
from torch.distributions import constraints

from catalogue.pyro_group import group, groups

CLASH = "Multiple sample sites named"
SHAPE = "(?i)shape|batch axis"


def chance(name="p", value=0.3):
    return pyro.param(name, torch.tensor(value), constraint=constraints.unit_interval)


def coin(name, p):
    return pyro.sample(name, dist.Bernoulli(p))


@group("nonempty_model_empty_guide_ok")
def _():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(pyro.param("loc", torch.zeros(3)), 2.0).to_event(1), obs=x)

    return model, lambda x: None, (torch.arange(6.0).reshape(2, 3),)


@group(
    "nonempty_model_empty_guide_error",
    pyro="warning",
    ours="refused",
    why="(?i)the model samples 'z', which the guide does not",
    note="Pyro's tests take its warning for an error.",
)
def _():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return model, lambda x: None, (torch.ones(3),)


@group("empty_model_empty_guide_ok")
def _():
    return lambda: None, lambda: None


@group("variable_clash_in_model_error", pyro="illegal", why=CLASH)
def _():
    def model():
        coin("x", 0.4)
        coin("x", 0.6)

    return model, lambda: coin("x", chance())


@group("variable_clash_in_guide_error", pyro="illegal", why=CLASH)
def _():
    def guide():
        coin("x", chance())
        coin("x", chance())

    return lambda: coin("x", 0.4), guide


@group("model_guide_dim_mismatch_error", pyro="illegal", elbos=("Trace", "TraceEnum"), why=SHAPE)
def _():
    def model():
        pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    def guide():
        pyro.sample("x", dist.Normal(pyro.param("loc", torch.ones(3, 1)), 1.0).to_event(2))

    return model, guide


@group("model_guide_shape_mismatch_error", pyro="illegal", why=SHAPE)
def _():
    def model():
        pyro.sample("x", dist.Normal(torch.zeros(1, 3), 1.0).to_event(2))

    def guide():
        pyro.sample("x", dist.Normal(pyro.param("loc", torch.ones(3, 1)), 1.0).to_event(2))

    return model, guide


@groups(
    "set_has_rsample_ok",
    {"True": (True,), "False": (False,)},
    **{"True": {"estimators": {"z": "Pathwise"}}, "False": {"estimators": {"z": "ScoreFunction"}}},
)
def _(has_rsample):
    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal((50 * z).clamp(-1, 1), 1.0), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.2)), 1.0).has_rsample_(has_rsample))

    return model, guide, (torch.tensor(0.5),)


@group("not_has_rsample_ok", estimators={"z": "ScoreFunction"})
def _():
    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Bernoulli(torch.where(z > 0, 0.7, 0.2)), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.1)), 1.0).has_rsample_(False))

    return model, guide, (torch.tensor(1.0),)


WHOLE = {"full": (None,), "subsample": (2,)}


@groups("iplate_ok", WHOLE)
def _(size):
    def model():
        for i in pyro.plate("turns", 3, size):
            coin(f"x_{i}", 0.4)

    def guide():
        for i in pyro.plate("turns", 3, size):
            coin(f"x_{i}", chance())

    return model, guide


@group("iplate_variable_clash_error", pyro="illegal", why=CLASH)
def _():
    def program(p):
        for _ in pyro.plate("turns", 2):
            coin("x", p)

    return lambda: program(0.4), lambda: program(chance())


@groups("plate_ok", WHOLE)
def _(size):
    def model():
        with pyro.plate("rows", 4, size) as index:
            pyro.sample("x", dist.Bernoulli(0.4).expand_by([len(index)]))

    def guide():
        with pyro.plate("rows", 4, size) as index:
            pyro.sample("x", dist.Bernoulli(chance()).expand_by([len(index)]))

    return model, guide


@groups("plate_subsample_param_ok", WHOLE)
def _(size):
    def model():
        with pyro.plate("rows", 4, size):
            coin("x", 0.4)

    def guide():
        with pyro.plate("rows", 4, size) as index:
            shift = pyro.param("shift", torch.tensor(0.1), event_dim=0)
            p = pyro.param("p", torch.tensor([0.1, 0.3, 0.5, 0.7]), event_dim=0)
            assert len(p) == len(index)
            coin("x", p + shift)

    return model, guide


@groups("plate_subsample_primitive_ok", WHOLE)
def _(size):
    def model():
        with pyro.plate("rows", 4, size):
            coin("x", 0.4)

    def guide():
        with pyro.plate("rows", 4, size) as index:
            p = pyro.subsample(torch.tensor([0.1, 0.3, 0.5, 0.7]), event_dim=0)
            assert len(p) == len(index)
            coin("x", p)

    return model, guide


@groups(
    "plate_param_size_mismatch_error",
    {
        f"{shape}, {label}": (shape, size)
        for shape in ((), (1,), (4,), (3, 1), (3, 4), (2,), (3, 2))
        for label, size in (("full", None), ("subsample", 2))
    },
    **{
        f"{shape}, {label}": {"pyro": "illegal", "why": "(?i)invalid shape of pyro.param"}
        for shape in ((2,), (3, 2))
        for label in ("full", "subsample")
    },
)
def _(shape, size):
    def model():
        with pyro.plate("rows", 4, size):
            coin("x", 0.4)

    def guide():
        with pyro.plate("rows", 4, size):
            other = pyro.param("other", torch.ones(shape), event_dim=0)
            coin("x", other.mean() * pyro.param("p", torch.full((4,), 0.3), event_dim=0))

    return model, guide


@group("plate_no_size_ok")
def _():
    def program(p):
        with pyro.plate("rows"):
            pyro.sample("x", dist.Bernoulli(p).expand_by([4]))

    return lambda: program(0.4), lambda: program(chance())


def _two_loops(size, swap):
    def program(p, swapped=False):
        outer, inner = pyro.plate("outer", 2, size), pyro.plate("inner", 3, size)
        if swapped:
            for j in inner:
                for i in outer:
                    coin(f"x_{i}_{j}", p)
        else:
            for i in outer:
                for j in inner:
                    coin(f"x_{i}_{j}", p)

    return lambda: program(0.4), lambda: program(chance(), swap)


groups("iplate_iplate_ok", {"full": (None, False), "subsample": (1, False)})(_two_loops)
groups("iplate_iplate_swap_ok", {"full": (None, True), "subsample": (1, True)})(_two_loops)


@groups("iplate_in_model_not_guide_ok", WHOLE)
def _(size):
    def model():
        for _ in pyro.plate("turns", 4, size):
            pass
        coin("x", 0.4)

    return model, lambda: coin("x", chance())


@groups(
    "iplate_in_guide_not_model_error",
    {"full": (None,), "subsample": (2,)},
    pyro="warning",
    note="Pyro's tests take its warning for an error; no site stands in the plate, and the number is right.",
)
def _(size):
    def guide():
        for _ in pyro.plate("turns", 4, size):
            pass
        coin("x", chance())

    return lambda: coin("x", 0.4), guide


@group("plate_broadcast_error", pyro="illegal", why=SHAPE)
def _():
    def program():
        with pyro.plate("rows", 6, 3):
            pyro.sample("x", dist.Bernoulli(torch.tensor(0.4)).expand_by([2]))

    return program, program


@group("plate_iplate_ok")
def _():
    def program(p):
        with pyro.plate("rows", 3, 2) as index:
            for i in pyro.plate("turns", 3, 2):
                pyro.sample(f"x_{i}", dist.Bernoulli(p).expand_by([len(index)]))

    return lambda: program(0.4), lambda: program(chance())


@group("iplate_plate_ok")
def _():
    def program(p):
        rows = pyro.plate("rows", 3, 2)
        for i in pyro.plate("turns", 3, 2):
            with rows as index:
                pyro.sample(f"x_{i}", dist.Bernoulli(p).expand_by([len(index)]))

    return lambda: program(0.4), lambda: program(chance())


SIZES = {"1": ((2,),), "2": ((2, 3),), "3": ((1, 3, 2),)}


@groups("plate_stack_ok", SIZES)
def _(sizes):
    def program(p):
        with pyro.plate_stack("stack", sizes):
            coin("x", p)

    return lambda: program(0.4), lambda: program(chance())


@groups("plate_stack_and_plate_ok", SIZES)
def _(sizes):
    def program(p):
        with pyro.plate_stack("stack", sizes), pyro.plate("rows", 1 if len(sizes) > 1 else 3):
            coin("x", p)

    return lambda: program(0.4), lambda: program(chance())


@groups("plate_stack_sizes", SIZES, note="Pyro only runs the model; here it is its own guide, too.")
def _(sizes):
    def program():
        with pyro.plate_stack("stack", sizes):
            x = pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            assert x.shape[-len(sizes) - 1 :] == (*sizes, 3)

    return program, program


@group("nested_plate_plate_ok", oracle="pyro")
def _():
    def program(p):
        with pyro.plate("outer", 3, 2) as i:
            pyro.sample("x", dist.Bernoulli(p).expand_by([len(i)]))
            with pyro.plate("inner", 5, 3) as j:
                pyro.sample("y", dist.Bernoulli(p).expand_by([len(j), len(i)]))

    return lambda: program(0.4), lambda: program(chance())


@group("plate_reuse_ok", oracle="pyro")
def _():
    def program(p):
        outer, inner = pyro.plate("outer", 3, 2, dim=-1), pyro.plate("inner", 4, 2, dim=-2)
        with outer as i:
            pyro.sample("x", dist.Bernoulli(p).expand_by([len(i)]))
        with inner as j:
            pyro.sample("y", dist.Bernoulli(p).expand_by([len(j), 1]))
        with outer as i, inner as j:
            pyro.sample("z", dist.Bernoulli(p).expand_by([len(j), len(i)]))

    return lambda: program(0.4), lambda: program(chance())


def _wrong_dims(which):
    """Outer plate of 3 at dim −1, inner plate of 2 at dim −2; one site takes them for the other way round."""
    shapes = {
        1: [((3,), 1), ((2,), 2), ((3, 2), 2)],
        2: [((3, 1), 1), ((3,), 2), ((3, 2), 2)],
        3: [((3, 1), 1), ((2,), 2), ((2, 1), 2)],
        4: [((3, 1), 1), ((2,), 2), ((3, 3), 2)],
    }[which]

    def program():
        p = torch.tensor([0.4])
        with pyro.plate("outer", 6, 3):
            for n, (shape, depth) in enumerate(shapes):
                if depth == 1:
                    pyro.sample(f"x_{n}", dist.Bernoulli(p).expand_by(list(shape)))
            with pyro.plate("inner", 4, 2):
                for n, (shape, depth) in enumerate(shapes):
                    if depth == 2:
                        pyro.sample(f"x_{n}", dist.Bernoulli(p).expand_by(list(shape)))

    return program, program


for _which in (1, 2, 3, 4):
    group(f"nested_plate_plate_dim_error_{_which}", pyro="illegal", why=SHAPE)(functools.partial(_wrong_dims, _which))


@group("nested_plate_plate_subsample_param_ok")
def _():
    def model():
        with pyro.plate("outer", 3, 2):
            coin("x", 0.4)
            with pyro.plate("inner", 4, 2):
                coin("y", 0.2)

    def guide():
        whole = pyro.param("whole", torch.full((4, 5), 0.5), event_dim=2)
        assert whole.shape == (4, 5)
        with pyro.plate("outer", 3, 2):
            rows = pyro.param("rows", torch.full((3, 7), 0.5), event_dim=1)
            assert rows.shape == (2, 7)
            coin("x", pyro.param("px", torch.tensor([0.2, 0.5, 0.8]), event_dim=0) * 4 * whole.mean() * rows.mean(-1))
            with pyro.plate("inner", 4, 2):
                py = pyro.param("py", torch.linspace(0.1, 0.9, 12).reshape(4, 3), event_dim=0)
                assert py.shape == (2, 2)
                coin("y", py)

    return model, guide


@group("nonnested_plate_plate_ok")
def _():
    def program(p):
        with pyro.plate("one", 5, 3) as i:
            pyro.sample("x", dist.Bernoulli(p).expand_by([len(i)]))
        with pyro.plate("two", 4, 2) as j:
            pyro.sample("y", dist.Bernoulli(p).expand_by([len(j)]))

    return lambda: program(0.4), lambda: program(chance())


@group("three_indep_plate_at_different_depths_ok")
def _():
    def program(p):
        rows = pyro.plate("rows", 4, 2)
        for i in pyro.plate("turns", 2):
            coin(f"x_{i}", p)
            if i == 0:
                for j in pyro.plate("rounds", 1):
                    with rows as index:
                        pyro.sample(f"y_{j}", dist.Bernoulli(p).expand_by([len(index)]))
            else:
                with rows as index:
                    pyro.sample("z", dist.Bernoulli(p).expand_by([len(index)]))

    return lambda: program(0.4), lambda: program(chance())


@group("plate_wrong_size_error", pyro="illegal", why=SHAPE)
def _():
    def program(p):
        with pyro.plate("rows", 6, 3) as index:
            pyro.sample("x", dist.Bernoulli(p).expand_by([len(index) + 2]))

    return lambda: program(0.4), lambda: program(chance())


def _blocked(blocked):
    def model():
        pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 3):
            pyro.sample("b", dist.Normal(0.0, 1.0))
            with blocked():
                c = pyro.sample("c", dist.Normal(1.0, 1.0))
        pyro.sample("d", dist.Normal(c, 1.0), obs=torch.tensor(0.5))

    def guide():
        pyro.sample("c", dist.Normal(pyro.param("c_loc", torch.tensor(0.2)), 1.0))
        with pyro.plate("rows", 3):
            pyro.sample("b", dist.Normal(pyro.param("b_loc", torch.tensor(0.1)), 1.0))
            with blocked():
                pyro.sample("a", dist.Normal(0.5, 1.0))

    return model, guide


group("block_plate_name_ok", elbos=("Trace",))(lambda: _blocked(lambda: block_plate("rows")))
group("block_plate_dim_ok", elbos=("Trace",))(lambda: _blocked(lambda: block_plate(dim=-1)))


@group("block_plate_missing_error", pyro="illegal", elbos=("Trace",), why="block_plate matched 0 messengers")
def _():
    def model():
        with block_plate("rows"):
            pyro.sample("a", dist.Normal(0.0, 1.0))

    return model, lambda: pyro.sample("a", dist.Normal(0.5, 1.0))


@group("plate_shape_broadcasting", elbos=("Trace",))
def _():
    data = (torch.arange(10) % 3 == 0).float().reshape(5, 2)

    def model(x):
        with pyro.plate("draws", 4, dim=-3):
            with pyro.plate("columns", 2, dim=-1):
                p = pyro.sample("p", dist.Beta(torch.tensor(1.5), torch.tensor(1.2)))
            with pyro.plate("rows", x.shape[0], dim=-2):
                pyro.sample("x", dist.Bernoulli(p), obs=x)

    def guide(x):
        with pyro.plate("draws", 4, dim=-3), pyro.plate("columns", 2, dim=-1):
            pyro.sample("p", dist.Beta(torch.tensor(1.1), torch.tensor(1.3)))

    return model, guide, (data,)


@group("dim_allocation_ok", oracle="pyro", elbos=("Trace", "TraceEnum"), options={"max_plate_nesting": 4})
def _():
    def program(p):
        with pyro.plate("outer", 4, 2, dim=-3):
            coin("x", p)
            with pyro.plate("one", 5, 3):
                coin("y", p)
                with pyro.plate("two", 6, 2):
                    coin("z", p)
                    with pyro.plate("three", 7, 3):
                        coin("w", p)

    return lambda: program(0.4), lambda: program(chance())


@group("dim_allocation_error", pyro="illegal", why="collide at dim=")
def _():
    def program(p):
        with pyro.plate("outer", 4, 2, dim=-2):
            coin("x", p)
            with pyro.plate("one", 5, 3):
                coin("y", p)
                with pyro.plate("two", 6, 2, dim=-1):
                    coin("z", p)

    return lambda: program(0.4), lambda: program(chance())


def _components(x):
    with pyro.plate("columns", 2, dim=-1):
        p = pyro.sample("p", dist.Beta(torch.tensor(1.5), torch.tensor(1.2)))
        with pyro.plate("rows", x.shape[0], dim=-2):
            pyro.sample("x", dist.Bernoulli(p), obs=x)


@group("vectorized_num_particles", particles=3)
def _():
    def guide(x):
        with pyro.plate("columns", 2):
            pyro.sample("p", dist.Beta(torch.tensor(1.1), torch.tensor(1.3)))

    return _components, guide, ((torch.arange(10) % 3 == 0).float().reshape(5, 2),)


@group("ordered_logistic_plate", elbos=("Trace",))
def _():
    def model(x):
        predictor = pyro.sample("predictor", dist.Normal(0.0, 1.0).expand([x.shape[0]]).to_event(1))
        cuts = pyro.sample("cuts", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        with pyro.plate("rows", x.shape[0]):
            pyro.sample("x", dist.OrderedLogistic(predictor, cuts.sort(-1).values), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.linspace(-1, 1, x.shape[0]))
        pyro.sample("predictor", dist.Normal(loc, 1.0).to_event(1))
        pyro.sample("cuts", dist.Normal(pyro.param("cut_loc", torch.tensor([-1.0, 1.0])), 1.0).to_event(1))

    return model, guide, (torch.tensor([0.0, 2.0, 1.0, 1.0]),)
