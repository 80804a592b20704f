"""Estimators that the objective refuses, KL it cannot take in closed form, missing gradients."""

from pathlib import Path

import pyro
import pytest
import torch
from torch import nn

import ppl_vae as pv
from tests.linter.pairs import D, Defects, data, discrete, good_guide, good_model, normal, params, prior

illegal = Defects()


@illegal("no gradient", mentions=("unused",))
def unused_layer():
    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.unused = nn.Linear(D, D), nn.Linear(D, D)

        def forward(self, x):
            with data(x):
                pyro.sample("z", normal(self.net(x), 1.0).to_event(1))

    return good_model, Guide(), params()


@illegal("no gradient")
def detached_encoder():
    net = nn.Linear(D, D)

    def guide(x):
        with data(x):
            pyro.sample("z", normal(net(x).detach(), 1.0).to_event(1))

    return good_model, guide, params()


@illegal("no gradient", mentions=("pyro.param 'idle'", Path(__file__).name))
def unused_param():
    net = nn.Linear(D, D)

    def guide(x):
        pyro.param("idle", torch.zeros(2))
        with data(x):
            pyro.sample("z", normal(net(x), 1.0).to_event(1))

    return good_model, guide, params()


@illegal("mean-field assumption", "warning", objective=lambda: pv.objectives.ELBO(kl="analytic"))
def analytic_kl_of_a_bottom_up_guide():
    lower, upper = nn.Linear(D, D), nn.Linear(D, D)

    def model(x):
        with data(x):
            z2 = prior(x, "z2")
            z1 = pyro.sample("z1", normal(z2, 1.0).to_event(1))
            pyro.sample("x", normal(z1, 1.0).to_event(1), obs=x)

    def guide(x):
        with data(x):
            z1 = pyro.sample("z1", normal(lower(x), 1.0).to_event(1))
            pyro.sample("z2", normal(upper(z1), 1.0).to_event(1))

    return model, guide, params()


@illegal(
    "discrete site without an estimator",
    mentions=("Pathwise",),
    pair=lambda: {"estimators": {"k": pv.estimators.Pathwise()}},
)
def pathwise_at_a_discrete_site():
    return discrete()


@illegal(
    "objective",
    pair=lambda: {"estimators": {"*": pv.estimators.StickingTheLanding()}},
    objective=lambda: pv.objectives.ELBO(kl="analytic"),
)
def sticking_the_landing_with_analytic_kl():
    return good_model, good_guide(), params()


@illegal("no parameters", "warning")
def nothing_to_train():
    def guide(x):
        with data(x):
            pyro.sample("z", normal(x, 1.0).to_event(1))

    return good_model, guide, params()


@pytest.mark.parametrize("defect", illegal.known, ids=str)
def test_finds(defect):
    defect.assert_found()
