"""The forms in which a Pyro program comes: functions, methods, modules, wrapped, lazy, shared."""

import functools

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn

from tests.catalogue.case import case

B, D = 5, 3


def data():
    return (torch.randn(B, D),)


def free_model(x):
    """A model without parameters, for cases about guides."""
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


@case(kl=True)
def params_with_constraints():
    def model(x):
        noise = pyro.param("noise", torch.tensor(0.7), constraint=constraints.positive)
        mix = pyro.param("mix", torch.full((D,), 1 / D), constraint=constraints.simplex)
        lower = pyro.param("lower", torch.eye(D), constraint=constraints.lower_cholesky)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
            pyro.sample("x", dist.MultivariateNormal(z * mix, scale_tril=noise * lower), obs=x)

    def guide(x):
        slope = pyro.param("slope", lambda: torch.tensor(0.5), constraint=constraints.interval(0.0, 1.0))
        scale = pyro.param("scale", torch.ones(D), constraint=constraints.softplus_positive)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(slope * x, scale).to_event(1))

    return model, guide, data()


@case(kl=True)
def params_with_dots_and_scopes():
    def model(x):
        loc = pyro.param("prior.z.loc", torch.zeros(D))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("q/z.loc", torch.zeros(D))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc + x / 2, 1.0).to_event(1))

    return model, guide, data()


@case(kl=True)
def one_param_in_both_programs():
    def model(x):
        w = pyro.param("w", torch.ones(D))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(w * z, 1.0).to_event(1), obs=x)

    def guide(x):
        w = pyro.param("w", torch.ones(D))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(w * x, 1.0).to_event(1))

    return model, guide, data()


@case(kl=True)
def param_read_without_initial_value():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(pyro.param("loc") / 2, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.zeros(D))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc + x / 2, 1.0).to_event(1))

    return model, guide, data()


class PlainModules:
    """A user's class that is no module, holding modules and parameters in lists and dicts."""

    def __init__(self):
        self.layers = [nn.Linear(D, D), nn.Linear(D, D)]
        self.heads = {"loc": nn.Linear(D, D), "scale": nn.Linear(D, D)}

    def __call__(self, x):
        h = x
        for layer in self.layers:
            h = torch.tanh(layer(h))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(self.heads["loc"](h), self.heads["scale"](h).exp()).to_event(1))


@case(kl=True)
def callable_object():
    return free_model, PlainModules(), data()


class Methods:
    """Bound methods of an object that is no module."""

    def __init__(self):
        self.net = nn.Linear(D, D)

    def guide(self, x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(self.net(x), 1.0).to_event(1))


@case(kl=True)
def method_of_a_plain_object():
    return free_model, Methods().guide, data()


@case(kl=True)
def partial():
    def guide(net, x, width):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(net(x), width).to_event(1))

    net = nn.Linear(D, D)
    return free_model, functools.partial(guide, net, width=0.5), data()


@case(kl=True)
def lambdas():
    net = nn.Linear(D, D)
    draw = lambda x: pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))  # noqa: E731
    return free_model, lambda x: pyro.plate("data", x.shape[0])(draw)(x), data()


_NETS = nn.ModuleDict()


@case(kl=True)
def module_in_a_global():
    _NETS["encoder"] = nn.Linear(D, D)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(_NETS["encoder"](x), 1.0).to_event(1))

    return free_model, guide, data()


@case(kl=True)
def made_when_first_run():
    made = {}

    def guide(x):
        if "net" not in made:
            made["net"] = nn.Linear(x.shape[-1], D)
        net = pyro.module("net", made["net"])
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    return free_model, guide, data()


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.LazyLinear(D)

    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(self.net(x), 1.0).to_event(1))


@case(kl=True)
def lazy_linear():
    return free_model, Lazy(), data()


@case(kl=True)
def decorated_with_handlers():
    net = nn.Linear(D, D)

    @poutine.scale(scale=0.5)
    def model(x):
        free_model(x)

    @poutine.scale(scale=0.5)
    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    return model, guide, data()


@case(kl=True)
def conditioned_from_outside():
    net = nn.Linear(D, D)
    w = torch.ones(D)

    def model(x):
        w = pyro.sample("w", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(w * z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    return poutine.condition(model, data={"w": w}), guide, data()


@case(kl=True)
def blocked_sites():
    net = nn.Linear(D, D)

    def inner(x):
        pyro.sample("noise", dist.Normal(0.0, 1.0))
        free_model(x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    return poutine.block(inner, hide=["noise"]), guide, data()


class Regression(PyroModule):
    """A PyroModule with a PyroParam and a PyroSample that is a global latent."""

    def __init__(self):
        super().__init__()
        self.net = PyroModule[nn.Linear](D, 1)
        self.net.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, D]).to_event(2))
        self.noise = PyroParam(torch.tensor(0.5), constraint=constraints.positive)

    def forward(self, x, y):
        mean = self.net(x).squeeze(-1)
        with pyro.plate("data", x.shape[0], dim=-1):
            pyro.sample("y", dist.Normal(mean, self.noise), obs=y)


class RegressionGuide(PyroModule):
    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, D))
        self.scale = PyroParam(torch.ones(1, D), constraint=constraints.positive)

    def forward(self, x, y):
        pyro.sample("net.weight", dist.Normal(self.loc, self.scale).to_event(2))


@case(kl=True)
def pyro_module_with_pyro_sample():
    return Regression(), RegressionGuide(), (torch.randn(B, D), torch.randn(B))


class Local(PyroModule):
    """PyroModules of the same class and attribute names in both programs: they share names, and nothing else."""

    def __init__(self, decode):
        super().__init__()
        self.net = PyroModule[nn.Linear](D, D)
        self.scale = PyroParam(torch.ones(D), constraint=constraints.positive)
        self.decode = decode

    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            if self.decode:
                z = pyro.sample("z", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.net(z), self.scale).to_event(1), obs=x)
            else:
                pyro.sample("z", dist.Normal(self.net(x), self.scale).to_event(1))


@case(kl=True)
def pyro_modules_with_equal_names():
    return Local(True), Local(False), data()


@case(kl=True)
def pyro_module_in_a_closure():
    encoder = PyroModule[nn.Linear](D, D)
    encoder.bias = PyroParam(torch.ones(D), constraint=constraints.positive)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(encoder(x), 1.0).to_event(1))

    return free_model, guide, data()


@case(kl=True)
def arguments_that_are_no_tensors():
    net = nn.Linear(D, D)

    def model(x, temperature, options, extra=None):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(D), options["scale"]).to_event(1))
            pyro.sample("x", dist.Normal(z * temperature, 1.0).to_event(1), obs=x)

    def guide(x, temperature, options, extra=None):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(net(x) * temperature, 1.0).to_event(1))

    return model, guide, (*data(), 0.5, {"scale": 2.0}, None)


@case(kl=True)
def scales_in_buffers():
    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(D, D)
            self.register_buffer("mean", torch.randn(D))
            self.register_buffer("count", torch.zeros((), dtype=torch.long))

        def forward(self, x):
            self.count += 1
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", dist.Normal(self.net(x - self.mean), 1.0).to_event(1))

    return free_model, Guide(), data()


@case(kl=True)
def parameters_of_a_param_store_module():
    """`pyro.random_module`'s successor: parameters given to `pyro.param` as `nn.Parameter` objects."""
    w = nn.Parameter(torch.ones(D))

    def guide(x):
        weight = pyro.param("weight", w)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(weight * x, 1.0).to_event(1))

    return free_model, guide, data()
