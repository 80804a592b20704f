"""Sites whose distribution is torch's or zuko's: wrapped for Pyro, joined, masked, or as it is."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import nn

import ppl_vae as pv
from ppl_vae.distributions.adapted import Adapted

WAYS = {
    "wrapped": ZukoToPyro,
    "plain": lambda fn: fn,
    "joined": lambda fn: ZukoToPyro(fn.base_dist).to_event(1) if hasattr(fn, "base_dist") else ZukoToPyro(fn),
    "masked": lambda fn: ZukoToPyro(fn).mask(True),
}


class Shifted(torch.distributions.Distribution):
    """A distribution of a stranger: no class of torch's, no support, no moments; e^loc times a log-normal."""

    has_rsample = True

    def __init__(self, loc, scale):
        self.inner = torch.distributions.LogNormal(loc, scale)
        super().__init__(self.inner.batch_shape[:-1], self.inner.batch_shape[-1:], validate_args=False)

    def rsample(self, shape=()):
        return self.inner.rsample(shape).log()

    def log_prob(self, z):
        return (self.inner.log_prob(z.exp()) + z).sum(-1)

    def expand(self, shape):
        size = (*shape, *self.event_shape)
        return Shifted(self.inner.loc.expand(size), self.inner.scale.expand(size))


def normal(loc, scale):
    return torch.distributions.Independent(torch.distributions.Normal(loc, scale), 1)


class Pair(nn.Module):
    def __init__(self, way, guide, prior):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Linear(2, 6)
        self.way, self.families = WAYS[way], (guide, prior)

    def model(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self.way(self.families[1](x.new_zeros(2), x.new_ones(2))))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.way(self.families[0](loc, log_scale.exp())))


def pair(way="wrapped", guide=normal, prior=normal):
    torch.manual_seed(0)
    made = Pair(way, guide, prior)
    return pv.VAE(made.model, made.guide), torch.randn(32, 6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", [normal, Shifted])
def test_it_is_checked_trained_evaluated_and_drawn_from(way, family):
    vae, x = pair(way, guide=family, prior=family)
    assert pv.check(vae, x).warnings == ()
    history = pv.fit(vae, x, epochs=2, progress=False)
    assert history.status == "finished"
    summary = pv.evaluate(vae, x, num_particles=20).summary
    assert summary["gap"] >= 0
    assert pv.posterior(vae, x[:3], draws=4)["posterior"]["z"].shape == (1, 4, 3, 2)
    assert pv.generate(vae, 3).shape == (3, 6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", [normal, Shifted])
def test_every_number_is_that_of_the_same_pair_in_pyros_own_words(way, family):
    """The log-densities, per particle and datum, of one set of draws; and exact KLs where torch has the family."""
    vae, x = pair(way, guide=family, prior=family)
    own = pv.VAE(*_in_pyros_words(vae))
    for particles in (1, 3):
        drawn = pv.terms(vae, x, particles=particles)
        same = pv.terms(own, x, particles=particles, values={"z": drawn.guide["z"].raw})
        for mine, theirs in ((drawn.guide, same.guide), (drawn.model, same.model)):
            torch.testing.assert_close(mine["z"].log_prob, theirs["z"].log_prob)
    closed = pv.objectives.ELBO(kl="analytic")
    if family is normal:
        torch.manual_seed(1)
        mine = closed(vae, x).value
        torch.manual_seed(1)
        assert mine == pytest.approx(float(closed(own, x).value), abs=1e-5)


def _in_pyros_words(vae):
    encoder, decoder = vae.model.self.encoder, vae.model.self.decoder

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        loc, log_scale = encoder(x).chunk(2, -1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return model, guide


def test_estimators_and_what_is_told_of_them_are_those_of_the_distribution_inside():
    vae, x = pair()
    assert "draws of Normal can be differentiated" in str(pv.check(vae, x))
    vae, x = pair(guide=Shifted)
    assert "draws of Shifted can be differentiated" in str(pv.check(vae, x))

    def model(x):
        with pyro.plate("data", x.shape[0]):
            k = pyro.sample("k", torch.distributions.Categorical(torch.ones(3)))
            pyro.sample("x", dist.Normal(k.float(), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("k", torch.distributions.Categorical(logits=x[:, None] * torch.arange(3.0)))

    discrete = pv.VAE(model, guide)
    assert isinstance(pv.prepare(discrete, torch.randn(5)).estimators["k"], pv.estimators.Enumerate)


def test_a_draw_without_a_gradient_does_not_keep_a_density_without_one():
    """Pyro's wrapper keeps the density that came with a draw, which under `no_grad` has no gradient in it."""

    class Together(Shifted):
        def rsample_and_log_prob(self, shape=()):
            z = self.rsample(shape)
            return z, self.log_prob(z)

    loc = torch.zeros(2, requires_grad=True)
    q = Adapted(Together(loc, torch.ones(2)))
    with torch.no_grad():
        z = q()
    (score,) = torch.autograd.grad(q.log_prob(z), loc)
    torch.testing.assert_close(score, z)  # of a normal at 0 with scale 1
    z = q.rsample()
    assert q.log_prob(z) is q.log_prob(z)  # kept: it came with the draw


def test_the_score_functions_gradient_is_the_exact_one():
    """E[f(z) ∇ log q] of a normal, f the model's log-density; 20,000 draws, 5 standard errors: 1 in 10⁶ a number."""

    class Together(Shifted):
        def rsample_and_log_prob(self, shape=()):
            z = self.rsample(shape)
            return z, self.log_prob(z)

    loc = nn.Parameter(torch.tensor([0.7]))

    def model(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", ZukoToPyro(Together(loc.expand(x.shape[0], 1), torch.ones(x.shape[0], 1))))

    vae = pv.VAE(model, guide, estimators={"z": pv.estimators.ScoreFunction(None)})
    torch.manual_seed(0)
    found = []
    for _ in range(20):
        bound = pv.objectives.ELBO(kl="sampled")(vae, torch.zeros(1000, 1))
        found.append(torch.autograd.grad(bound.surrogate, loc)[0])
    found = torch.stack(found)
    error = found.std() / math.sqrt(len(found))
    assert abs(found.mean() + 0.7) < 5 * error  # −KL = −loc²/2


def test_a_network_in_the_place_of_its_distribution_is_refused_with_what_to_write():
    class Flow(nn.Module):
        def forward(self):
            return dist.Normal(torch.zeros(2), 1.0).to_event(1)

    flow = Flow()

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", flow)
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    with pytest.raises(pv.errors.CheckError, match=r"call it, pyro.sample\('z', flow\(\)\)"):
        pv.prepare(pv.VAE(model, model), torch.randn(4, 2))


def test_hmc_refuses_a_latent_whose_support_is_not_told():
    vae, x = pair(guide=Shifted, prior=Shifted)
    with pytest.raises(pv.errors.CheckError, match="Shifted at 'z' does not tell its own"):
        pv.diagnostics.ais(vae, x[:2], chains=2, steps=2)
