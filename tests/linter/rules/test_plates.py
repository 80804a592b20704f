"""Shapes and plates: where the two programs disagree, and batch axes that no plate declares."""

import pyro
import pytest
import torch
from torch import nn

from tests.linter.pairs import B, D, Defects, data, normal, params, prior

illegal = Defects()


@illegal("shape", mentions=("(3,)", "(2,)"))
def latent_sizes_differ():
    net = nn.Linear(D, 2)

    def model(x):
        with data(x):
            z = prior(x)
            pyro.sample("x", normal(z.sum(-1, True), 1.0).expand([B, D]).to_event(1), obs=x)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return model, guide, params()


@illegal("shape", mentions=("does not run", "(2,)"))
def latent_sizes_differ_so_that_the_model_fails():
    net, decoder = nn.Linear(D, 2), nn.Linear(D, D)

    def model(x):
        with data(x):
            pyro.sample("x", normal(decoder(prior(x)), 1.0).to_event(1), obs=x)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return model, guide, params()


@illegal("undeclared batch axis", "warning", mentions=("to_event(1)",))
def to_event_forgotten():
    net = nn.Linear(D, D)

    def model(x):
        with pyro.plate("data", x.shape[0], dim=-2):
            z = pyro.sample("z", normal(x.new_zeros(D), 1.0).expand([x.shape[0], D]))
            pyro.sample("x", normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0], dim=-2):
            pyro.sample("z", normal(net(x), 1.0))

    return model, guide, params()


@illegal("missing data plate", mentions=("pyro.plate", "5"))
def no_plate_at_all():
    net = nn.Linear(D, D)

    def model(x):
        z = pyro.sample("z", normal(x.new_zeros(x.shape[0], D), 1.0).to_event(1))
        pyro.sample("x", normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return model, guide, params()


@illegal("plates")
def plate_in_the_model_only():
    def model(x):
        with data(x):
            z = pyro.sample("z", normal(0.0, 1.0))
            pyro.sample("x", normal(z[..., None], 1.0).expand([D]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("z", normal(pyro.param("loc", torch.zeros(())), 1.0))

    return model, guide, params()


@pytest.mark.parametrize("defect", illegal.known, ids=str)
def test_finds(defect):
    defect.assert_found()
