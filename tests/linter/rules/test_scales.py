"""Scale and mask: on one side only, or where the minibatch scale is applied already."""

import pyro
import pytest
import torch
from pyro import poutine
from torch import nn

from tests.linter.pairs import D, Defects, data, good_guide, good_model, normal, params, prior

illegal = Defects()


@illegal("scale on one side", mentions=("0.1",))
def beta_in_the_model_only():
    def model(x):
        with data(x):
            with poutine.scale(scale=0.1):
                z = prior(x)
            pyro.sample("x", normal(z, 1.0).to_event(1), obs=x)

    return model, good_guide(), params()


@illegal("mask on one side")
def mask_in_the_guide_only():
    net = nn.Linear(D, D)

    def guide(x):
        with data(x), poutine.mask(mask=torch.arange(x.shape[0]) < 2):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return good_model, guide, params()


@illegal("minibatch scale by hand", "warning")
def scaled_by_hand():
    net = nn.Linear(D, D)

    def model(x):
        w = prior(x, "w")
        with data(x):
            z = prior(x)
            with poutine.scale(scale=100 / x.shape[0]):
                pyro.sample("x", normal(z + w, 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.sample("w", normal(pyro.param("loc", torch.zeros(D)), 1.0).to_event(1))
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return model, guide, params()


@pytest.mark.parametrize("defect", illegal.known, ids=str)
def test_finds(defect):
    defect.assert_found()
