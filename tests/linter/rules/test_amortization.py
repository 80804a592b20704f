"""Guides of local latents that do not read the data."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal, AutoNormalMessenger
from torch import nn

import ppl_vae as pv
from tests.linter.pairs import B, D, Defects, data, good_model, normal, params

illegal = Defects()


@illegal("guide ignores the data")
def guide_ignores_x():
    def guide(x):
        loc = pyro.param("loc", torch.zeros(D))
        with data(x):
            pyro.sample("z", normal(loc, 1.0).to_event(1))

    return good_model, guide, params()


@illegal("guide ignores the data", "warning")
def parameters_per_row():
    def guide(x):
        loc = pyro.param("loc", lambda: torch.randn(B, D))
        with data(x):
            pyro.sample("z", normal(loc, 1.0).to_event(1))

    return good_model, guide, params()


@illegal("autoguide over local latents", mentions=("derived",))
def autonormal_over_local_latents():
    return good_model, AutoNormal(good_model), params()


@illegal("autoguide over local latents")
def joint_autoguide_over_local_latents():
    return good_model, AutoDiagonalNormal(good_model), params()


@illegal("autoguide over local latents")
def guide_messenger_over_local_latents():
    return good_model, AutoNormalMessenger(good_model), params()


@pytest.mark.parametrize("defect", illegal.known, ids=str)
def test_finds(defect):
    defect.assert_found()


def test_full_batch_may_be_guided_row_by_row():
    report = pv.check(pv.VAE(good_model, AutoNormal(good_model)), params(), total=B)
    assert "autoguide over local latents" in {f.kind for f in report.warnings}


def test_a_guide_whose_weights_start_at_zero_reads_the_data_all_the_same():
    class Zero(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 2)
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

        def forward(self, x):
            with pyro.plate("data", x.shape[0]):
                pyro.sample("z", dist.Normal(self.head(x), 1.0).to_event(1))

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.decode = nn.Linear(2, 3)

        def forward(self, x):
            with pyro.plate("data", x.shape[0]):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.decode(z), 1.0).to_event(1), obs=x)

    vae = pv.VAE(Decoder(), Zero())
    before = {name: p.clone() for name, p in vae.named_parameters()}
    report = pv.check(vae, torch.randn(6, 3))
    assert "guide ignores the data" not in {finding.kind for finding in report.warnings}
    assert all(torch.equal(p, before[name]) for name, p in vae.named_parameters())
