"""Global latents: autoguides, EasyGuide, hierarchies of global and local latents."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.contrib.easyguide import EasyGuide
from pyro.distributions import constraints
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoGuideList,
    AutoHierarchicalNormalMessenger,
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
    AutoStructured,
)
from pyro.infer.autoguide.initialization import init_to_mean
from pyro.nn import PyroModule, PyroSample
from torch import nn

from tests.catalogue.case import case

B, D = 6, 3


def regression(x, y):
    """Bayesian linear regression: every latent is global."""
    w = pyro.sample("w", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
    b = pyro.sample("b", dist.Normal(x.new_zeros(()), 1.0))
    noise = pyro.sample("noise", dist.LogNormal(x.new_zeros(()), 0.5))
    with pyro.plate("data", x.shape[0]):
        mean = (x * w.unsqueeze(-2)).sum(-1) if w.dim() == 1 else (x * w).sum(-1)
        pyro.sample("y", dist.Normal(mean + b, noise), obs=y)


def data():
    x = torch.randn(B, D)
    return x, x.sum(-1) + 0.1 * torch.randn(B)


@case()
def auto_normal():
    return regression, AutoNormal(regression), data()


@case()
def auto_diagonal_normal():
    return regression, AutoDiagonalNormal(regression), data()


@case()
def autoguide_of_a_model_with_params():
    def model(x):
        noise = pyro.param("noise", torch.tensor(0.5), constraint=constraints.positive)
        w = pyro.sample("w", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(w, noise).to_event(1), obs=x)

    return model, AutoNormal(model), (torch.randn(B, D),)


@case()
def auto_multivariate_normal():
    return regression, AutoMultivariateNormal(regression, init_loc_fn=init_to_mean), data()


@case()
def auto_low_rank():
    return regression, AutoLowRankMultivariateNormal(regression, rank=1), data()


@case(generic=False)  # Pyro inverts the flow in the default dtype
def auto_iaf_normal():
    return regression, AutoIAFNormal(regression, hidden_dim=[8], num_transforms=1), data()


@case()
def auto_delta():
    return regression, AutoDelta(regression), data()


@case()
def auto_structured():
    guide = AutoStructured(
        regression, conditionals={"w": "mvn", "b": "normal", "noise": "normal"}, dependencies={"b": {"w": "linear"}}
    )
    return regression, guide, data()


@case()
def auto_guide_list():
    guide = AutoGuideList(regression)
    guide.append(AutoMultivariateNormal(poutine.block(regression, expose=["w"])))
    guide.append(AutoNormal(poutine.block(regression, expose=["b"])))
    guide.append(AutoDelta(poutine.block(regression, expose=["noise"])))
    return regression, guide, data()


@case()
def auto_normal_messenger():
    return regression, AutoNormalMessenger(regression), data()


class BayesianNetwork(PyroModule):
    """A network whose weights are PyroSamples."""

    def __init__(self):
        super().__init__()
        self.hidden = PyroModule[nn.Linear](D, 4)
        self.out = nn.Linear(4, 1)
        self.hidden.weight = PyroSample(dist.Normal(0.0, 1.0).expand([4, D]).to_event(2))
        self.hidden.bias = PyroSample(dist.Normal(0.0, 1.0).expand([4]).to_event(1))

    def forward(self, x, y):
        mean = self.out(torch.tanh(self.hidden(x))).squeeze(-1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("y", dist.Normal(mean, 0.3), obs=y)


@case(generic=False)
def bayesian_network_with_autoguide():
    model = BayesianNetwork()
    return model, AutoDiagonalNormal(model), data()


class Hierarchy(nn.Module):
    """A global latent above local ones, with an amortized guide for the latter."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(D, 2 * D)

    def model(self, x):
        noise = pyro.param("noise", torch.tensor(0.5), constraint=constraints.positive)
        mu = pyro.sample("mu", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(mu, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, noise).to_event(1), obs=x)

    def guide(self, x):
        loc = pyro.param("mu_loc", torch.zeros(D))
        scale = pyro.param("mu_scale", torch.ones(D), constraint=constraints.positive)
        pyro.sample("mu", dist.Normal(loc, scale).to_event(1))
        with pyro.plate("data", x.shape[0]):
            loc, scale = self.net(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


@case(kl=True)
def global_and_local():
    pair = Hierarchy()
    return pair.model, pair.guide, (torch.randn(B, D),)


@case()
def autoguide_for_the_globals_only():
    pair = Hierarchy()
    mu = AutoNormal(poutine.block(pair.model, expose=["mu"]))

    def guide(x):
        mu(x)
        with pyro.plate("data", x.shape[0]):
            loc, scale = pair.net(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pair.model, guide, (torch.randn(B, D),)


@case()
def autoguide_list_with_an_amortized_part():
    pair = Hierarchy()

    def local(x):
        with pyro.plate("data", x.shape[0]):
            loc, scale = pair.net(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    def guide(x):
        mu(x)
        local(x)

    mu = AutoDiagonalNormal(poutine.block(pair.model, hide=["z", "x"]))
    return pair.model, guide, (torch.randn(B, D),)


class Easy(EasyGuide):
    """An EasyGuide that samples a group of sites at once and one by hand."""

    def guide(self, x, y):
        group = self.group(match="w|b")
        loc = pyro.param("loc", torch.zeros(group.event_shape))
        scale = pyro.param("scale", torch.ones(group.event_shape), constraint=constraints.positive)
        group.sample("wb", dist.Normal(loc, scale).to_event(1))
        self.map_estimate("noise")


@case()
def easy_guide():
    return regression, Easy(regression), data()


@case(kl=True)
def random_effects():
    """Groups that lie outside the data: the plate of groups does not follow the batch."""
    group = torch.tensor([0, 1, 2, 0, 1, 2])

    def model(y, g):
        tau = pyro.sample("tau", dist.LogNormal(0.0, 0.5))
        with pyro.plate("groups", 3):
            mu = pyro.sample("mu", dist.Normal(0.0, tau))
        with pyro.plate("data", y.shape[0]):
            pyro.sample("y", dist.Normal(mu[..., g], 1.0), obs=y)

    def guide(y, g):
        loc = pyro.param("loc", torch.zeros(3))
        pyro.sample("tau", dist.LogNormal(pyro.param("tau_loc", torch.tensor(0.0)), 0.3))
        with pyro.plate("groups", 3):
            pyro.sample("mu", dist.Normal(loc, 0.5))

    return model, guide, (torch.randn(B), group)


@case(data=False)
def eight_schools():
    """No batch at all: both programs close over the data."""
    y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    def model():
        eta = pyro.sample("eta", dist.Normal(torch.zeros(8), 1.0).to_event(1))
        mu = pyro.sample("mu", dist.Normal(torch.zeros(1), 10.0).to_event(1))
        tau = pyro.sample("tau", dist.HalfCauchy(torch.full((1,), 25.0)).to_event(1))
        pyro.sample("obs", dist.Normal(mu + tau * eta, sigma).to_event(1), obs=y)

    def guide():
        loc = pyro.param("loc", torch.zeros(10))
        scale = pyro.param("scale", 0.1 * torch.ones(10), constraint=constraints.positive)
        pyro.sample("eta", dist.Normal(loc[:8], scale[:8]).to_event(1))
        pyro.sample("mu", dist.Normal(loc[8:9], scale[8:9]).to_event(1))
        log_tau = dist.Normal(loc[9:], scale[9:])
        pyro.sample("tau", dist.TransformedDistribution(log_tau, [dist.transforms.ExpTransform()]).to_event(1))

    return model, guide, ()


@case()
def laplace_autoguide():
    return regression, AutoLaplaceApproximation(regression), data()


@case(frozen=("weights.w", "weights.b"))  # they multiply prior means, which are 0 here
def hierarchical_messenger():
    return regression, AutoHierarchicalNormalMessenger(regression), data()


@case(kl=True)
def map_estimate_by_delta():
    def model(x):
        w = pyro.sample("w", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(w, 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.sample("w", dist.Delta(pyro.param("w_map", torch.ones(D)), event_dim=1))

    return model, guide, (torch.randn(B, D),)


@case(kl=True)
def maximum_likelihood():
    """No latent at all: the guide is empty."""

    def model(x):
        loc = pyro.param("loc", torch.zeros(D))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(x):
        pass

    return model, guide, (torch.randn(B, D),)
