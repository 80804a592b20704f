"""Sites in one program only, and misspelt names."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from tests.linter.pairs import D, Defects, data, good_guide, good_model, normal, params, prior

illegal = Defects()


@illegal("misspelt site", mentions=("'latnet'", "'latent'"))
def misspelt_site():
    net = nn.Linear(D, D)

    def model(x):
        with data(x):
            pyro.sample("x", normal(prior(x, "latent"), 1.0).to_event(1), obs=x)

    def guide(x):
        with data(x):
            pyro.sample("latnet", normal(net(x), 1.0).to_event(1))

    return model, guide, params()


@illegal("site in the model only", mentions=("'w'",))
def latent_in_the_model_only():
    def model(x):
        w = prior(x, "w")
        with data(x):
            pyro.sample("x", normal(prior(x) + w, 1.0).to_event(1), obs=x)

    return model, good_guide(), params()


@illegal("site in the guide only", mentions=("'extra_of_guide'", "is_auxiliary"))
def latent_in_the_guide_only():
    net = nn.Linear(D, D)

    def guide(x):
        with data(x):
            e = pyro.sample("extra_of_guide", normal(0.0, 1.0))
            pyro.sample("z", normal(net(x) + e[..., None], 1.0).to_event(1))

    return good_model, guide, params()


@illegal("observed site in the guide")
def guide_draws_what_is_observed():
    net = nn.Linear(D, D)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))
            pyro.sample("x", normal(net(x), 1.0).to_event(1))

    return good_model, guide, params()


@illegal("site in the model only", mentions=("obs=",))
def observation_forgotten():
    def model(x):
        with data(x):
            pyro.sample("x", normal(prior(x), 1.0).to_event(1))

    return model, good_guide(), params()


@illegal("discrete site without an estimator", mentions=("enumerate",))
def discrete_latent_in_the_model_only():
    def model(x):
        with data(x):
            k = pyro.sample("k", dist.Categorical(torch.ones(2)))
            pyro.sample("x", normal(prior(x) + k[..., None], 1.0).to_event(1), obs=x)

    return model, good_guide(), params()


@pytest.mark.parametrize("defect", illegal.known, ids=str)
def test_finds(defect):
    defect.assert_found()
