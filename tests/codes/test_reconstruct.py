"""Data come back through their latents, what they depend on beside them held."""

import pyro
import pyro.distributions as dist
import torch

import ppl_vae as pv
from tests.codes.test_encode import X


def labelled():
    """x | z, y ~ N(z + 100 y, 1), and a label with a prior of its own."""

    def model(x, y):
        with pyro.plate("data", x.shape[0]):
            y = pyro.sample("y", dist.Bernoulli(0.5).expand([x.shape[0]]), obs=y)
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + 100 * y[..., None], 1.0).to_event(1), obs=x)

    def guide(x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal((x - 100 * y[:, None]) / 2, 0.5).to_event(1))

    return pv.VAE(model, guide)


def test_labels_are_held_and_what_depends_on_latents_comes_back():
    y = torch.tensor([0.0, 1.0, 1.0])
    batch = X + 100 * y[:, None], y
    K = 4000
    back = pv.reconstruct(labelled(), batch, num_particles=K)
    assert ((back - (X / 2 + 100 * y[:, None])).abs() < 5 * 0.5 / K**0.5).all()


def test_a_draw_has_the_spread_of_latents_and_likelihood():
    many, y = torch.zeros(20_000, 2), torch.zeros(20_000)
    drawn = pv.reconstruct(labelled(), (many, y), mean=False)
    assert abs(float(drawn.var()) - 1.25) < 5 * 1.25 * (2 / 40_000) ** 0.5


def test_it_is_the_mean_of_the_predictive_draws():
    vae = pv.VAE(labelled().model, labelled().guide)
    batch = X, torch.zeros(3)
    drawn = pv.posterior(vae, batch, draws=4000)["posterior_predictive"]["x"].values[0]
    back = pv.reconstruct(vae, batch, num_particles=4000)
    # predictive draws redraw the label; those with label 0 are compared
    label = pv.posterior(vae, batch, draws=4000)["posterior_predictive"]["y"].values[0]
    for datum in range(3):
        own = drawn[label[:, datum] == 0, datum]
        assert (abs(own.mean(0) - back[datum].numpy()) < 6 * 1.2 / len(own) ** 0.5).all()
