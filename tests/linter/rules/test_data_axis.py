"""The batch: bad data, events that swallow it, sequential plates, programs of one batch size."""

import pyro
import pytest
import torch
from torch import nn

from tests.linter.pairs import B, D, Defects, data, good_model, normal, params, prior

illegal = Defects()


@illegal("data", mentions=("1 missing value (NaN) in x, the first in datum 0 at [0]", "mask"))
def missing_values_as_nan():
    x = torch.randn(B, D)
    x[0, 0] = torch.nan

    def guide(x):
        with data(x):
            pyro.sample("z", normal(pyro.param("a", torch.ones(D)) * x.nan_to_num(), 1.0).to_event(1))

    return good_model, guide, (x,)


@illegal("to_event swallows the batch")
def event_over_the_batch():
    net = nn.Linear(D, D)

    def model(x):
        z = pyro.sample("z", normal(x.new_zeros(x.shape[0], D), 1.0).to_event(2))
        pyro.sample("x", normal(z, 1.0).to_event(2), obs=x)

    def guide(x):
        pyro.sample("z", normal(net(x), 1.0).to_event(2))

    return model, guide, params()


@illegal("to_event swallows the batch", "warning", mentions=("N/B",))
def minibatch_scale_missing_for_global_latents():
    def model(x):
        w = prior(x, "w")
        pyro.sample("x", normal(w, 1.0).expand(x.shape).to_event(2), obs=x)

    def guide(x):
        pyro.sample("w", normal(pyro.param("loc", torch.zeros(D)), 1.0).to_event(1))

    return model, guide, params()


@illegal("sequential data plate", "warning")
def plate_over_data_as_a_loop():
    def model(x):
        w = prior(x, "w")
        for i in pyro.plate("data", x.shape[0]):
            pyro.sample(f"x_{i}", normal(w, 1.0).to_event(1), obs=x[i])

    def guide(x):
        pyro.sample("w", normal(pyro.param("loc", torch.zeros(D)), 1.0).to_event(1))

    return model, guide, params()


@illegal("one batch size", "warning")
def batch_size_written_into_the_program():
    def model(x):
        with pyro.plate("data", B):
            pyro.sample("x", normal(prior(x), 1.0).to_event(1), obs=x)

    net = nn.Linear(D, D)

    def guide(x):
        with pyro.plate("data", B):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return model, guide, params()


@illegal("subsamples by itself", "warning", mentions=("subsample_size",))
def minibatch_drawn_by_the_program():
    net = nn.Linear(D, D)

    def model(x):
        with pyro.plate("data", x.shape[0], subsample_size=2) as i:
            pyro.sample("x", normal(prior(x), 1.0).to_event(1), obs=x[i])

    def guide(x):
        with pyro.plate("data", x.shape[0], subsample_size=2) as i:
            pyro.sample("z", normal(net(x[i]), 1.0).to_event(1))

    return model, guide, params()


@pytest.mark.parametrize("defect", illegal.known, ids=str)
def test_finds(defect):
    defect.assert_found()
