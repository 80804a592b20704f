"""Supports: a guide that leaves the model's, data outside the likelihood's, densities that are not finite."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from tests.linter.pairs import B, D, Defects, data, good_guide, good_model, normal, params, prior

illegal = Defects()


@illegal("observed outside the support", mentions=("Categorical", "0 to 7"))
def labels_out_of_range():
    net = nn.Linear(D, 3)

    def model(x, y):
        with data(x):
            pyro.sample("y", dist.Categorical(logits=net(prior(x))), obs=y)

    def guide(x, y):
        with data(x):
            pyro.sample("z", normal(x + pyro.param("b", torch.zeros(D)), 1.0).to_event(1))

    return model, guide, (torch.randn(B, D), torch.tensor([0, 1, 2, 7, 0]))


@illegal("support", mentions=("Gamma", "greater than"))
def guide_leaves_the_support():
    net = nn.Linear(D, D)

    def model(x):
        with data(x):
            z = pyro.sample("z", dist.Gamma(x.new_ones(D), 1.0).to_event(1))
            pyro.sample("x", normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x) - 1, 1.0).to_event(1))

    return model, guide, params()


@illegal("support", "warning")
def guide_cannot_reach_the_prior():
    net = nn.Linear(D, D)

    def guide(x):
        with data(x):
            pyro.sample("z", dist.LogNormal(net(x), 1.0).to_event(1))

    return good_model, guide, params()


@illegal("observed outside the support", mentions=("Bernoulli", "inariz"))
def grey_pixels_under_a_bernoulli():
    def model(x):
        with data(x):
            pyro.sample("x", dist.Bernoulli(logits=prior(x)).to_event(1), obs=x)

    return model, good_guide(), (torch.rand(B, D),)


@illegal("observed outside the support", "warning")
def grey_pixels_with_validation_off():
    def model(x):
        with data(x):
            pyro.sample("x", dist.Bernoulli(logits=prior(x), validate_args=False).to_event(1), obs=x)

    return model, good_guide(), (torch.rand(B, D),)


@illegal("observed outside the support", mentions=("Poisson", "-1"))
def negative_counts():
    def model(x):
        with data(x):
            pyro.sample("x", dist.Poisson(prior(x).exp()).to_event(1), obs=x)

    return model, good_guide(), (-torch.ones(B, D),)


@illegal("not finite")
def logarithm_of_zero():
    def model(x):
        with data(x):
            pyro.sample("x", normal(prior(x) + x.new_zeros(()).log(), 1.0).to_event(1), obs=x)

    return model, good_guide(), params()


@pytest.mark.parametrize("defect", illegal.known, ids=str)
def test_finds(defect):
    defect.assert_found()


def test_a_distribution_that_draws_one_at_a_time_is_drawn_from_so():
    """Pyro's mixture of diagonal normals, whose components are gathered in the shape of a single draw."""

    def model(x, y):
        with data(x):
            pyro.sample("y", dist.Normal(prior(x), 1.0).to_event(1), obs=y)

    def guide(x, y):
        loc = torch.stack([x, -x], -2) + pyro.param("b", torch.zeros(D))
        with data(x):
            pyro.sample("z", dist.MixtureOfDiagNormals(loc, torch.ones_like(loc), x.new_zeros(len(x), 2)))

    batch = torch.randn(B, D), torch.randn(B, D)
    assert "z" in str(pv.check(pv.VAE(model, guide), batch))
