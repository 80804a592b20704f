"""Plates of any name, place and depth, with and without subsampling."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import nn

from tests.catalogue.case import case

B, D = 5, 3


@case(kl=True)
def data_plate_left_of_features():
    """Features in a plate of their own, the data at dim −2."""
    net = nn.Linear(D, D)

    def model(x):
        w = pyro.param("w", torch.ones(D))
        with pyro.plate("rows", x.shape[0], dim=-2), pyro.plate("columns", D, dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(w * z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("rows", x.shape[0], dim=-2), pyro.plate("columns", D, dim=-1):
            pyro.sample("z", dist.Normal(net(x), 1.0))

    return model, guide, (torch.randn(B, D),)


@case(kl=True)
def features_left_of_data():
    """Features at dim −2, the data at dim −1: the program transposes its input."""
    net = nn.Linear(D, D)

    def model(x):
        w = pyro.param("w", torch.ones(D, 1))
        with pyro.plate("columns", D, dim=-2), pyro.plate("rows", x.shape[0], dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(w * z, 1.0), obs=x.mT)

    def guide(x):
        with pyro.plate("columns", D, dim=-2), pyro.plate("rows", x.shape[0], dim=-1):
            pyro.sample("z", dist.Normal(net(x).mT, 1.0))

    return model, guide, (torch.randn(B, D),)


@case(kl=True)
def sites_at_two_depths():
    """A local latent shared by the features, and one per feature."""
    net, head = nn.Linear(D, 2), nn.Linear(D, D)

    def model(x):
        w = pyro.param("w", torch.ones(D))
        with pyro.plate("n", x.shape[0], dim=-2):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            with pyro.plate("d", D, dim=-1):
                u = pyro.sample("u", dist.Normal(z, 1.0))
                pyro.sample("x", dist.Normal(w * u, 0.5), obs=x)

    def guide(x):
        with pyro.plate("n", x.shape[0], dim=-2):
            loc, scale = net(x)[..., None].unbind(-2)
            pyro.sample("z", dist.Normal(loc, scale.exp()))
            with pyro.plate("d", D, dim=-1):
                pyro.sample("u", dist.Normal(head(x), 0.3))

    return model, guide, (torch.randn(B, D),)


@case(kl=True)
def three_plates_deep():
    net = nn.Linear(2, 2)

    def model(x):
        with pyro.plate("a", x.shape[0], dim=-3), pyro.plate("b", D, dim=-2):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            with pyro.plate("c", 2, dim=-1):
                pyro.sample("x", dist.Normal(z, pyro.param("s", torch.ones(2))), obs=x)

    def guide(x):
        with pyro.plate("a", x.shape[0], dim=-3), pyro.plate("b", D, dim=-2):
            loc, scale = net(x).unsqueeze(-2).unbind(-1)
            pyro.sample("z", dist.Normal(loc, scale.exp()))

    return model, guide, (torch.randn(B, D, 2),)


@case(kl=True)
def independent_latents_in_the_data_plate_only():
    """Latents of a univariate program: no `to_event` anywhere."""

    def model(x):
        noise = pyro.param("noise", torch.tensor(1.0), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, noise), obs=x)

    def guide(x):
        slope = pyro.param("slope", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope * x, 0.7))

    return model, guide, (torch.randn(B),)


@case(kl=True)
def sequential_plate_over_features():
    """A Python loop over independent features beside the vectorized data plate."""
    net = nn.Linear(D, D)

    def model(x):
        w = pyro.param("w", torch.ones(D))
        rows = pyro.plate("data", x.shape[0])
        for d in pyro.plate("features", D):
            with rows:
                z = pyro.sample(f"z_{d}", dist.Normal(0.0, 1.0))
                pyro.sample(f"x_{d}", dist.Normal(w[d] * z, 1.0), obs=x[:, d])

    def guide(x):
        loc = net(x)
        rows = pyro.plate("data", x.shape[0])
        for d in pyro.plate("features", D):
            with rows:
                pyro.sample(f"z_{d}", dist.Normal(loc[..., d], 0.5))

    return model, guide, (torch.randn(B, D),)


@case(kl=True)
def plate_entered_twice():
    net = nn.Linear(D, D)

    def model(x):
        plate = pyro.plate("data", x.shape[0])
        with plate:
            z = pyro.sample("z", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
        mean = z * pyro.param("w", torch.ones(D))
        with plate:
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    return model, guide, (torch.randn(B, D),)


@case(random=True, kl=True, generic=False)
def subsampling_by_the_programs():
    """The program holds all data and draws its own minibatch: its scale is its own."""
    everything = torch.randn(20, D)
    net = nn.Linear(D, D)

    def model():
        w = pyro.param("w", torch.ones(D))
        with pyro.plate("data", 20, subsample_size=4) as index:
            z = pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(w * z, 1.0).to_event(1), obs=everything[index])

    def guide():
        with pyro.plate("data", 20, subsample_size=4) as index:
            pyro.sample("z", dist.Normal(net(everything[index]), 1.0).to_event(1))

    return model, guide, ()


@case(kl=True)
def size_of_the_data_set_given_by_hand():
    """The user's own N and indices: never rescaled."""
    net = nn.Linear(D, D)

    def model(x, index):
        w = pyro.sample("w", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
        with pyro.plate("data", 50, subsample=index):
            z = pyro.sample("z", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(w * z, 1.0).to_event(1), obs=x)

    def guide(x, index):
        pyro.sample("w", dist.Normal(pyro.param("loc", torch.ones(D)), 0.5).to_event(1))
        with pyro.plate("data", 50, subsample=index):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    return model, guide, (torch.randn(B, D), torch.arange(B))


@case(kl=True, pair={"data_plate": "people"})
def square_batch_with_two_plates_of_one_size():
    """Features and data of equal size; the pair names the plate over data."""
    net = nn.Linear(B, B)

    def model(x):
        with pyro.plate("people", x.shape[0], dim=-2), pyro.plate("items", x.shape[1], dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), pyro.param("tau", torch.tensor(1.0))))
            pyro.sample("x", dist.Bernoulli(logits=z), obs=x)

    def guide(x):
        with pyro.plate("people", x.shape[0], dim=-2), pyro.plate("items", x.shape[1], dim=-1):
            pyro.sample("z", dist.Normal(net(x), 1.0))

    return model, guide, (torch.bernoulli(torch.full((B, B), 0.5)),)


@case(kl=True, data=False, warnings=("to_event swallows the batch",))
def no_plate_over_data():
    """One joint observation: a legal pair without any quantity per datum."""
    net = nn.Linear(D, D)

    def model(x):
        z = pyro.sample("z", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).expand(x.shape).to_event(2), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(net(x.mean(0)), 1.0).to_event(1))

    return model, guide, (torch.randn(B, D),)


@case(kl=True)
def plate_only_in_the_model():
    """The guide gives a global latent; only the model has a plate."""

    def model(x):
        w = pyro.sample("w", dist.Normal(x.new_zeros(()), 1.0))
        with pyro.plate("observations", x.shape[0]):
            pyro.sample("x", dist.Normal(w, 1.0), obs=x)

    def guide(x):
        loc, log_scale = pyro.param("loc", torch.zeros(())), pyro.param("log_scale", torch.zeros(()))
        pyro.sample("w", dist.Normal(loc, log_scale.exp()))

    return model, guide, (torch.randn(B),)


@case(kl=True)
def plate_named_otherwise_in_the_guide():
    net = nn.Linear(D, D)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, pyro.param("s", torch.ones(()))).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("batch", x.shape[0]):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    return model, guide, (torch.randn(B, D),)
