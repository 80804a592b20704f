"""Masks of a prior on the distribution in its place: on whole events, and on elements."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import PplVaeError
from ppl_vae.guides import Derived
from ppl_vae.guides.masks import masked_alike

KEPT = torch.tensor([True, False, True])
PRIORS = {
    "normal": lambda: dist.Normal(torch.zeros(3), 1.0),
    "gamma": lambda: dist.Gamma(torch.full((3,), 2.0), 1.0),
    "uniform": lambda: dist.Uniform(torch.zeros(3), 2.0),
    "bernoulli": lambda: dist.Bernoulli(torch.full((3,), 0.3)),
    "categorical": lambda: dist.Categorical(torch.ones(3, 4)),
    "poisson": lambda: dist.Poisson(torch.ones(3)),
}


def model_of(prior):
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", prior())
            pyro.sample("x", dist.Normal(z[..., 0] + 0.0, 1.0), obs=x)

    return model


@pytest.mark.parametrize("name", PRIORS)
def test_an_element_that_does_not_count_counts_in_neither(name):
    """The bound of a vector whose second element is masked is that of the others, draw by draw."""
    model = model_of(lambda: PRIORS[name]().mask(KEPT).to_event(1))
    guide = Derived(model, hidden=[4])
    x = torch.randn(5)
    guide(x)
    q = pyro.poutine.trace(guide).get_trace(x)
    p = pyro.poutine.trace(pyro.poutine.replay(model, q)).get_trace(x)
    for trace in (q, p):
        trace.compute_log_prob()
        fn, value = trace.nodes["z"]["fn"], trace.nodes["z"]["value"]
        other = value.clone()
        other[..., 1] = other[..., 0]  # any value that the support has
        torch.testing.assert_close(fn.log_prob(other), trace.nodes["z"]["log_prob"])
        assert fn.event_shape == (3,)
    assert pv.check(pv.VAE(model, guide), x).clean


@pytest.mark.parametrize("outer", [1, 2])
def test_masks_of_events_of_matrices(outer):
    """A mask of rows, where an event has two axes: rows count or not as a whole."""
    rows = torch.tensor([True, False])
    prior = dist.Normal(torch.zeros(2, 3), 1.0).to_event(2 - outer).mask(rows if outer == 1 else rows[:, None])
    prior = prior.to_event(outer)
    q = dist.Normal(torch.zeros(2, 3), 2.0).to_event(2)
    z = torch.randn(2, 3)
    expected = dist.Normal(0.0, 2.0).log_prob(z)[0].sum()
    torch.testing.assert_close(masked_alike(q, prior, "z").log_prob(z), expected)


def test_dependent_elements_are_refused():
    model = model_of(lambda: dist.Normal(torch.zeros(3), 1.0).mask(KEPT).to_event(1))
    guide = Derived(model, hidden=[4], family="full_rank")
    with pytest.raises(PplVaeError, match=r"'z' is masked element by element.*family diagonal"):
        guide(torch.randn(5))
    whole = model_of(lambda: dist.Normal(torch.zeros(3), 1.0).to_event(1).mask(torch.tensor(True)))
    Derived(whole, hidden=[4], family="full_rank")(torch.randn(5))
