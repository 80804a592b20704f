"""Programs of one's own, as classes, functions and modules."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.datasets.spec import Spec
from ppl_vae.sklearn.build import build, likelihood_class, support_for

SPEC = Spec((4,), "real")
PLAIN = {"latent_dim": 8, "hidden": (256,)}


class Model(nn.Module):
    def __init__(self, latent_dim=2):
        super().__init__()
        self.latent_dim, self.decoder = latent_dim, nn.Linear(latent_dim, 4)

    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent_dim), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self, latent_dim=2):
        super().__init__()
        self.encoder = nn.Linear(4, latent_dim)

    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(self.encoder(x), 1.0).to_event(1))


def made(model=None, guide=None, likelihood=None, **chosen):
    return build(
        SPEC, model=model, guide=guide, likelihood=likelihood, estimators=None, plain=PLAIN, chosen=PLAIN | chosen
    )


def test_classes_are_given_what_they_name():
    pair = made(Model, Guide, latent_dim=3)
    assert pair.model.latent_dim == pair.guide.encoder.out_features == 3


def test_the_guides_layers_are_the_models_in_reverse():
    pair = made(hidden=(5, 7))
    widths = [[m.out_features for m in part.modules() if isinstance(m, nn.Linear)] for part in (pair.model, pair.guide)]
    assert widths[0][:2] == [5, 7]
    assert widths[1][:2] == [7, 5]


def test_a_module_is_copied():
    model, guide = Model(), Guide()
    pair = made(model, guide)
    assert pair.model is not model
    assert torch.equal(pair.model.decoder.weight, model.decoder.weight)
    x = np.random.default_rng(0).normal(size=(20, 4))
    before = model.decoder.weight.clone()
    estimator = pv.sklearn.VAE(model=model, guide=guide, epochs=1).fit(x)
    assert torch.equal(before, model.decoder.weight)
    assert not torch.equal(before, estimator.vae_.model.decoder.weight)


def test_a_program_behind_a_function():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(4), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    with pytest.raises(pv.errors.ArgumentError, match="which takes x; expected a class or function that makes"):
        made(model, Guide)
    pair = made(lambda: model, lambda: Guide(4))
    assert torch.isfinite(pv.terms(pair, torch.zeros(3, 4)).elbo)


@pytest.mark.parametrize(
    ("programs", "chosen", "message"),
    [
        ((3, Guide), {}, "Got model=3"),
        ((Model(), Guide()), {"latent_dim": 3}, "latent_dim=3 with a model and a guide that take no such"),
        ((Model, Guide), {"likelihood": pv.likelihoods.Normal}, "likelihood"),
        ((lambda: 3, Guide), {}, "of kind int"),
        ((lambda: lambda x: None, None), {}, "has no latent_dim, without a guide"),
    ],
)
def test_what_cannot_be_made(programs, chosen, message):
    with pytest.raises(pv.errors.ArgumentError, match=message):
        made(*programs, **chosen)


def test_names_of_likelihoods():
    for name in pv.likelihoods.__all__:
        if name != "likelihood_for":
            assert likelihood_class(name) is getattr(pv.likelihoods, name)
    assert likelihood_class("negative_binomial") is pv.likelihoods.NegativeBinomial
    with pytest.raises(pv.errors.ArgumentError, match="Did you mean Poisson"):
        likelihood_class("poison")


def test_the_support_of_a_likelihood_on_all_reals_does_not_go_by_the_data():
    assert [support_for(s, pv.likelihoods.Normal) for s in (None, "unit")] == ["real", "unit"]
    assert support_for(None, None) is None
