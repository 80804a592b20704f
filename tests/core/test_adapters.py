"""Distributions of other libraries, through Pyro's adapter: drawn by calling, with neither `sample` nor a support."""

import pyro
import pyro.distributions as dist
import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import nn

import ppl_vae as pv


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Linear(2, 6)

    def model(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        normal = torch.distributions.Normal(loc, log_scale.exp())
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", ZukoToPyro(torch.distributions.Independent(normal, 1)))


def test_it_is_checked_trained_evaluated_and_drawn_from():
    torch.manual_seed(0)
    pair, x = Pair(), torch.randn(32, 6)
    vae = pv.VAE(pair.model, pair.guide)
    assert pv.check(vae, x).warnings == ()
    history = pv.fit(vae, x, epochs=2, progress=False)
    assert history.status == "finished"
    summary = pv.evaluate(vae, x, num_particles=20).summary
    assert summary["gap"] >= 0
    assert pv.posterior(vae, x[:3], draws=4)["posterior"]["z"].shape == (1, 4, 3, 2)
