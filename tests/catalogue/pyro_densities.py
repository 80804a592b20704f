"""Groups of Pyro's catalogue about what a site counts: factors, masks, scales, other objectives, collapsed sites."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.reparam import LatentStableReparam
from torch.distributions import constraints

import ppl_vae as pv
from catalogue.pyro_group import group, groups

FIELD = ("Trace", "TraceMeanField")
EVERY = ("Trace", "TraceEnum", "TraceGraph", "TraceMeanField")


def location(name="loc", value=0.3):
    return pyro.param(name, torch.tensor(value))


@group("factor_in_model_ok")
def _():
    return lambda: pyro.factor("f", pyro.param("weight", torch.tensor(0.7))), lambda: None


@group("factor_in_guide_error", pyro="illegal", why="has_rsample")
def _():
    return lambda: None, lambda: pyro.factor("f", torch.tensor(0.7))


@groups("factor_in_guide_ok", {"False": (False,), "True": (True,)})
def _(has_rsample):
    def guide():
        pyro.factor("f", pyro.param("weight", torch.tensor(0.7)), has_rsample=has_rsample)

    return lambda: None, guide


def _chain(loc, mask=None):
    fn = dist.Normal(loc, 1.0)
    x = pyro.sample("x", fn if mask is None else fn.mask(mask))
    pyro.sample("y", dist.Normal(x, 1.0))


@group("mean_field_ok", elbos=FIELD)
def _():
    return lambda: _chain(0.0), lambda: _chain(location())


@groups("mean_field_mask_ok", {"True": (True,), "False": (False,)}, elbos=FIELD)
def _(mask):
    return lambda: _chain(0.0, mask), lambda: _chain(location(), mask)


@group("mean_field_warn", elbos=("TraceMeanField",), pyro="warning")
def _():
    def guide():
        y = pyro.sample("y", dist.Normal(location(), 1.0))
        pyro.sample("x", dist.Normal(y, 1.0))

    return lambda: _chain(0.0), guide


def _tails(local):
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", local(x))

    return model, guide, (torch.tensor([0.5, -1.0, 2.0]),)


def _pathwise(x):
    return dist.Normal(location() * x, 2.0)


TAILS = {"elbos": ("TraceTailAdaptive",), "options": {"num_particles": 2, "vectorize_particles": True}}


@group("tail_adaptive_ok", **TAILS, objective=lambda: pv.objectives.TailAdaptive(num_particles=2), particles=2)
def _():
    return _tails(_pathwise)


@group(
    "tail_adaptive_error [not reparameterized]",
    **TAILS,
    objective=lambda: pv.objectives.TailAdaptive(num_particles=2),
    pyro="illegal",
    why="TailAdaptive",
)
def _():
    return _tails(lambda x: _pathwise(x).has_rsample_(False))


@group(
    "tail_adaptive_error [not vectorized]",
    **(TAILS | {"options": {"num_particles": 2, "vectorize_particles": False}}),
    objective=lambda: pv.objectives.TailAdaptive(num_particles=2),
    pyro="illegal",
    ours="right",
    particles=2,
    note="How particles are drawn is found here, and not the user's to say.",
)
def _():
    return _tails(_pathwise)


@group(
    "tail_adaptive_warning",
    **(TAILS | {"options": {"num_particles": 1, "vectorize_particles": True}}),
    objective=lambda: pv.objectives.TailAdaptive(num_particles=1),
    pyro="warning",
    ours="refused",
    why="expected 2 or more",
    note="One particle has no rank.",
)
def _():
    return _tails(_pathwise)


def _observed(handler, estimated=0.3):
    def model(y):
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with handler():
            pyro.sample("y", dist.Normal(x, 1.0), obs=y)

    def guide(y):
        pyro.sample("x", dist.Normal(location(value=estimated), 1.0))

    return model, guide, (torch.tensor(0.8),)


@group("reparam_ok", elbos=FIELD)
def _():
    return _observed(lambda: poutine.scale(scale=1.0))


BITS = {
    "True": (True,),
    "False": (False,),
    "tensor True": (torch.tensor(True),),
    "tensor False": (torch.tensor(False),),
}


@groups("reparam_mask_ok", BITS, elbos=FIELD)
def _(mask):
    return _observed(lambda: poutine.mask(mask=mask))


def _shares(handler):
    def model(x):
        c = pyro.sample("c", dist.LogNormal(0.0, 1.0).expand([3]).to_event(1))
        with pyro.plate("data", x.shape[0]), handler():
            pyro.sample("x", dist.Dirichlet(c), obs=x)

    def guide(x):
        scale = pyro.param("scale", torch.ones(3), constraint=constraints.positive)
        pyro.sample("c", dist.LogNormal(pyro.param("loc", torch.zeros(3)), scale).to_event(1))

    return model, guide, (torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]]),)


@groups("reparam_mask_plate_ok", BITS | {"one of two": (torch.tensor([False, True]),)}, elbos=FIELD)
def _(mask):
    return _shares(lambda: poutine.mask(mask=mask))


def _partly(mask, normal, prior):
    def model(y):
        x = pyro.sample("x", prior(0.0))
        with pyro.plate("data", y.shape[0]):
            pyro.sample("y", normal(x), obs=y, obs_mask=mask)

    def guide(y):
        x = pyro.sample("x", prior(location()))
        with pyro.plate("data", y.shape[0]), poutine.mask(mask=~mask):
            pyro.sample("y_unobserved", normal(x))

    return model, guide


MASKS = {
    "tensor True": (torch.tensor(True),),
    "tensor False": (torch.tensor(False),),
    "[True]": (torch.tensor([True]),),
    "[False]": (torch.tensor([False]),),
    "mixed": (torch.tensor([False, True, False]),),
}
PARTICLES = {1: "1 particle", 2: "2 particles"}


for _k, _label in PARTICLES.items():

    @groups(
        "obs_mask_ok",
        {f"{name}, {_label}": mask for name, mask in MASKS.items()},
        elbos=EVERY,
        particles=_k,
        options={"num_particles": _k, "vectorize_particles": True},
    )
    def _(mask):
        return *_partly(mask, lambda x: dist.Normal(x, 1.0), lambda x: dist.Normal(x, 1.0)), (torch.full((3,), 2.0),)

    @groups(
        "obs_mask_multivariate_ok",
        {f"{name}, {_label}": mask for name, mask in MASKS.items()},
        elbos=EVERY,
        particles=_k,
        options={"num_particles": _k, "vectorize_particles": True},
    )
    def _(mask):
        def normal(x):
            return dist.MultivariateNormal(x + torch.zeros(2), torch.eye(2))

        return *_partly(mask, normal, normal), (torch.full((3, 2), 2.0),)


@group("obs_mask_multivariate_error", elbos=EVERY, pyro="illegal", why="(?i)obs_mask shape")
def _():
    def normal(x):
        return dist.MultivariateNormal(x + torch.zeros(2), torch.eye(2))

    mask = torch.tensor([[False, False], [False, True], [True, False]])
    return *_partly(mask, normal, normal), (torch.full((3, 2), 2.0),)


SCALES = {"1": (1,), "0.1": (0.1,), "tensor 0.5": (torch.tensor(0.5),)}


@groups("reparam_scale_ok", SCALES, elbos=FIELD)
def _(scale):
    return _observed(lambda: poutine.scale(scale=scale))


@groups("reparam_scale_plate_ok", SCALES | {"per datum": (torch.tensor([0.1, 0.9]),)}, elbos=FIELD)
def _(scale):
    return _shares(lambda: poutine.scale(scale=scale))


@group(
    "no_log_prob_ok",
    elbos=("EnergyDistance",),
    note="Here by the density of Stable that Pyro has by now; the energy distance, which does without, is not offered.",
)
def _():
    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Stable(1.5, 0.5, scale, loc), obs=x)

    def guide(x):
        pyro.sample("loc", dist.Delta(location("middle")))
        pyro.sample("scale", dist.Delta(pyro.param("width", torch.tensor(1.0), constraint=constraints.positive)))

    return model, guide, (torch.tensor([0.5, -1.0, 2.0]),)


@group("reparam_stable", elbos=("Trace",))
def _():
    @poutine.reparam(config={"z": LatentStableReparam()})
    def model(x):
        stability = pyro.sample("stability", dist.Uniform(0.0, 2.0))
        skew = pyro.sample("skew", dist.Uniform(-1.0, 1.0))
        z = pyro.sample("z", dist.Stable(stability, skew))
        pyro.sample("x", dist.Poisson(z.abs()), obs=x)

    def guide(x):
        for name, value in (("stability", 1.5), ("skew", 0.1), ("z_uniform", 0.2), ("z_exponential", 1.0)):
            pyro.sample(name, dist.Delta(torch.tensor(value)))

    return model, guide, (torch.tensor(1.0),)


COLLAPSED = {
    "elbos": ("Trace",),
    "pyro": "illegal",
    "ours": "refused",
    "why": "(?i)funsor|collapse",
    "note": "Legal with the package funsor alone, which is no dependency here.",
}


def _positive(name):
    return pyro.param(name, torch.tensor(1.0), constraint=constraints.positive)


def _normal_guide(*_):
    pyro.sample("x", dist.Normal(location(), _positive("scale")))


def _gamma_guide(*_):
    pyro.sample("c", dist.Gamma(_positive("a"), _positive("b")))


@group("collapse_normal_normal", **COLLAPSED)
def _():
    def model(z):
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with poutine.collapse():
            y = pyro.sample("y", dist.Normal(x, 1.0))
            pyro.sample("z", dist.Normal(y, 1.0), obs=z)

    return model, _normal_guide, (torch.tensor(0.4),)


def _collapsed_normals(inside):
    def model(z):
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with poutine.collapse():
            y = None if inside else pyro.sample("y", dist.Normal(x, 1.0))
            with pyro.plate("data", z.shape[0], dim=-1):
                y = pyro.sample("y", dist.Normal(x, 1.0)) if inside else y
                pyro.sample("z", dist.Normal(y, 1.0), obs=z)

    return model, _normal_guide, (torch.tensor([0.4, -1.0]),)


group("collapse_normal_normal_plate", **COLLAPSED)(lambda: _collapsed_normals(False))
group("collapse_normal_plate_normal", **COLLAPSED)(lambda: _collapsed_normals(True))


def _collapsed_beta(kind):
    def model(x):
        c = pyro.sample("c", dist.Gamma(1.0, 1.0))
        with poutine.collapse():
            p = pyro.sample("probs", dist.Beta(c, 2.0))
            if kind == 2:
                with pyro.plate("data", x.shape[0]):
                    pyro.sample("x", dist.Binomial(10, p), obs=x)
            else:
                pyro.sample("x", dist.Binomial(10, p) if kind else dist.Bernoulli(p), obs=x)

    data = (torch.tensor(0.0), torch.tensor(5.0), torch.tensor([0.0, 1.0, 5.0]))[kind]
    return model, _gamma_guide, (data,)


group("collapse_beta_bernoulli", **COLLAPSED)(lambda: _collapsed_beta(0))
group("collapse_beta_binomial", **COLLAPSED)(lambda: _collapsed_beta(1))
group("collapse_beta_binomial_plate", **COLLAPSED)(lambda: _collapsed_beta(2))


@group("collapse_barrier", **COLLAPSED)
def _():
    def model(x):
        with poutine.collapse():
            z = pyro.sample("z_init", dist.Normal(0.0, 1.0))
            for t in range(3):
                z = pyro.sample(f"z_{t}", dist.Normal(z, 1.0))
                pyro.sample(f"x_{t}", dist.Normal(z, 1.0), obs=x[t])
                z = torch.sigmoid(pyro.barrier(z))

    return model, lambda x: None, (torch.tensor([0.0, 1.0, 5.0]),)
