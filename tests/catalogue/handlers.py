"""Effects inside programs: scale, mask, factor, deterministic, observation masks."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import constraints
from torch import nn

from tests.catalogue.case import case

B, D = 5, 3


def guide_by(net, scale=1.0):
    def guide(x, *rest):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(net(x), scale).to_event(1))

    return guide


def prior(x):
    return pyro.sample("z", dist.Normal(x.new_zeros(D), 1.0).to_event(1))


@case(kl=True)
def kl_annealing_by_scale_in_both():
    net = nn.Linear(D, D)

    def model(x, beta):
        with pyro.plate("data", x.shape[0]):
            with poutine.scale(scale=beta):
                z = prior(x)
            pyro.sample("x", dist.Normal(z, pyro.param("s", torch.ones(()))).to_event(1), obs=x)

    def guide(x, beta):
        with pyro.plate("data", x.shape[0]), poutine.scale(scale=beta):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    return model, guide, (torch.randn(B, D), 0.25)


@case(kl=True)
def weighted_likelihood():
    """A scale per datum on what is observed."""

    def model(x, weight):
        with pyro.plate("data", x.shape[0]):
            z = prior(x)
            with poutine.scale(scale=weight):
                pyro.sample("x", dist.Normal(z, pyro.param("s", torch.ones(()))).to_event(1), obs=x)

    return model, guide_by(nn.Linear(D, D)), (torch.randn(B, D), torch.rand(B) + 0.5)


@case()  # Pyro's mean-field bound does not accept them in a guide
def deterministic_sites():
    net, decoder = nn.Linear(D, D), nn.Linear(D, D)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = prior(x)
            mean = pyro.deterministic("mean", decoder(z), event_dim=1)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            loc = pyro.deterministic("loc", net(x), event_dim=1)
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    return model, guide, (torch.randn(B, D),)


@case()
def factor_in_the_model():
    """A term added to the log joint, per datum and once."""

    def model(x):
        w = pyro.param("w", torch.zeros(D))
        pyro.factor("ridge", -(w**2).sum())
        with pyro.plate("data", x.shape[0]):
            z = prior(x)
            pyro.factor("smooth", -(z**2).sum(-1) / 10)
            pyro.sample("x", dist.Normal(w + z, 1.0).to_event(1), obs=x)

    return model, guide_by(nn.Linear(D, D)), (torch.randn(B, D),)


@case()
def likelihood_as_a_factor():
    def model(x):
        noise = pyro.param("noise", torch.tensor(1.0), constraint=constraints.positive)
        with pyro.plate("data", x.shape[0]):
            z = prior(x)
            pyro.factor("x", dist.Normal(z, noise).log_prob(x).sum(-1))

    return model, guide_by(nn.Linear(D, D)), (torch.randn(B, D),)


@case(kl=True)
def mask_over_the_whole_program():
    """Padded rows masked out in both programs."""
    net = nn.Linear(D, D)

    def model(x, keep):
        with pyro.plate("data", x.shape[0]), poutine.mask(mask=keep):
            z = prior(x)
            pyro.sample("x", dist.Normal(z, pyro.param("s", torch.ones(()))).to_event(1), obs=x)

    def guide(x, keep):
        with pyro.plate("data", x.shape[0]), poutine.mask(mask=keep):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    return model, guide, (torch.randn(B, D), torch.arange(B) < 3)


@case(kl=True)
def masked_distributions():
    """`.mask()` on a distribution: missing entries of a table."""
    net = nn.Linear(D, D)

    def model(x, seen):
        with pyro.plate("data", x.shape[0]):
            z = prior(x)
            pyro.sample("x", dist.Normal(z, pyro.param("s", torch.ones(()))).mask(seen).to_event(1), obs=x)

    return model, guide_by(net), (torch.randn(B, D), torch.rand(B, D) < 0.7)


@case()
def imputation_by_obs_mask():
    """Entries that are not observed become latent sites of their own."""
    net, impute = nn.Linear(D, D), nn.Linear(D, D)

    def model(x, seen):
        with pyro.plate("data", x.shape[0]):
            z = prior(x)
            pyro.sample("x", dist.Normal(z, pyro.param("s", torch.ones(()))).to_event(1), obs=x, obs_mask=seen)

    def guide(x, seen):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))
            with poutine.mask(mask=~seen):
                pyro.sample("x_unobserved", dist.Normal(impute(x), 1.0).to_event(1))

    return model, guide, (torch.randn(B, D), torch.arange(B) % 2 == 0)


@case(kl=True)
def sample_weights_zero():
    """A scale of zero-like weight switched by a boolean mask on one observed site."""

    def model(x, y, seen):
        with pyro.plate("data", x.shape[0]):
            z = prior(x)
            pyro.sample("x", dist.Normal(z, pyro.param("s", torch.ones(()))).to_event(1), obs=x)
            with poutine.mask(mask=seen):
                pyro.sample("y", dist.Normal(z.sum(-1), 1.0), obs=y)

    return model, guide_by(nn.Linear(D, D)), (torch.randn(B, D), torch.randn(B), torch.arange(B) < 2)


@case(kl=True)
def reparametrized_prior_by_hand():
    """A non-centred latent and the deterministic value made of it."""

    def model(x):
        loc = pyro.param("prior_loc", torch.zeros(D))
        with pyro.plate("data", x.shape[0]):
            e = prior(x)
            z = pyro.deterministic("centred", loc + 2 * e, event_dim=1)
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    return model, guide_by(nn.Linear(D, D)), (torch.randn(B, D),)


@case(kl=True)
def model_reparam_handler():
    """`poutine.reparam` on the model (a legal use; on a guide it loses log q)."""
    from pyro.infer.reparam import LocScaleReparam

    net = nn.Linear(D, D)

    @poutine.reparam(config={"z": LocScaleReparam(centered=0.0, shape_params=())})
    def model(x):
        loc = pyro.param("prior_loc", torch.zeros(D))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(loc, 2.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z_decentered", dist.Normal(net(x), 1.0).to_event(1))

    return model, guide, (torch.randn(B, D),)
