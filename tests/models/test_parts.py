"""Families from parts: a prior, decoder, head or encoder of one's own makes a pair with the rest of ours."""

import copy
from functools import partial
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppl_vae as pv
from ppl_vae.datasets.spec import Spec
from ppl_vae.errors import ArgumentError
from ppl_vae.nn import (
    AutoregressiveDecoder,
    Code,
    Decoder,
    Dirichlet,
    Encoder,
    Flow,
    FullRankNormal,
    Gamma,
    GammaPrior,
    MixturePrior,
    Point,
    StandardNormal,
)

SPEC = Spec((6,), "real")


class WidePrior(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.ones(dim))

    def forward(self) -> Any:
        return dist.Normal(0.0, self.log_scale.exp()).to_event(1)


class LinearDecoder(nn.Module):
    def __init__(self, spec: Any, likelihood: Any, features: int) -> None:
        super().__init__()
        self.shape = (likelihood.num_params, *spec.shape)
        self.linear = nn.Linear(features, likelihood.num_params * spec.shape[0])

    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z).unflatten(-1, self.shape)


class StudentHead(nn.Module):
    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.loc = nn.Linear(features, dim)

    def forward(self, h: Tensor) -> Any:
        return dist.StudentT(5.0, self.loc(h), 1.0).to_event(1)


class MomentEncoder(nn.Module):
    out_features = 2

    def __init__(self, spec: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(spec.shape))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([(self.weight * x).mean(-1), (self.weight * x).std(-1)], -1)


def pairs(loc: Tensor) -> Any:
    return dist.Normal(loc, 1.0).to_event(2)


PARTS = {
    "own prior": ({"prior": WidePrior}, {}, "model.prior.log_scale"),
    "own decoder": ({"decoder": LinearDecoder}, {}, "model.decoder.linear.weight"),
    "own head": ({}, {"head": StudentHead}, "guide.z.loc.weight"),
    "own encoder": ({}, {"encoder": MomentEncoder}, "guide.encoder.weight"),
    "all four": (
        {"prior": WidePrior, "decoder": LinearDecoder},
        {"head": StudentHead, "encoder": MomentEncoder},
        "guide.z.loc.bias",
    ),
    "ours, narrowed": (
        {"prior": partial(MixturePrior, components=3), "decoder": partial(Decoder, hidden=[5])},
        {"head": FullRankNormal, "encoder": partial(Encoder, hidden=[7])},
        "model.prior.logits",
    ),
    "positive": ({"prior": GammaPrior}, {"head": Gamma}, "guide.z.linear.weight"),
    "a decoder that gives the distribution, a flow over own features": (
        {"decoder": partial(AutoregressiveDecoder, hidden=[5])},
        {"head": partial(Flow, layers=1), "encoder": MomentEncoder},
        "guide.z.flows.0.net.layers.0.weight",
    ),
    "a latent of two axes, flattened for the decoder": (
        {"prior": lambda dim: lambda: pairs(torch.zeros(dim, 2)), "decoder": lambda *of: Decoder(*of[:2], 6)},
        {"head": lambda features, dim: Code(features, (dim, 2), pairs)},
        "guide.z.linear.weight",
    ),
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_parts_make_a_pair_that_trains(parts):
    of_model, of_guide, learned = parts
    torch.manual_seed(0)
    model = pv.models.Latent(SPEC, latent_dim=3, **of_model)
    vae = pv.VAE(model, pv.guides.Amortized(SPEC, model, **of_guide))
    x = torch.randn(40, 6)
    pv.check(vae, (x,))
    before = vae.state_dict()[learned].clone()
    history = pv.fit(vae, pv.datasets.from_arrays(x, validation=8, test=8), epochs=2, batch_size=8, seed=0)
    assert all(torch.isfinite(p).all() for p in vae.parameters())
    assert not torch.equal(before, vae.state_dict()[learned])
    assert history is not None
    assert pv.generate(vae, 5).shape == (5, 6)


FAMILIES = {
    "VAE": (
        lambda: pv.models.VAE(SPEC, latent_dim=3, hidden=[5], activation="tanh", prior=MixturePrior),
        lambda: pv.models.Latent(
            SPEC, latent_dim=3, prior=MixturePrior, decoder=partial(Decoder, hidden=[5], activation="tanh")
        ),
    ),
    "AutoregressiveVAE": (
        lambda: pv.models.AutoregressiveVAE(SPEC, latent_dim=3, hidden=[5]),
        lambda: pv.models.Latent(SPEC, latent_dim=3, decoder=partial(AutoregressiveDecoder, hidden=[5])),
    ),
    "GammaVAE": (
        lambda: pv.models.GammaVAE(SPEC, latent_dim=3, concentration=0.5),
        lambda: pv.models.Latent(SPEC, latent_dim=3, prior=partial(GammaPrior, concentration=0.5)),
    ),
}
GUIDES = {
    "Deterministic": (pv.guides.Deterministic, Point),
    "FlowAmortized": (pv.guides.FlowAmortized, Flow),
    "FullRank": (pv.guides.FullRank, FullRankNormal),
    "DirichletAmortized": (pv.guides.DirichletAmortized, Dirichlet),
    "GammaAmortized": (pv.guides.GammaAmortized, Gamma),
}


def assert_same(make, from_parts):
    torch.manual_seed(0)
    one = make().state_dict()
    torch.manual_seed(0)
    other = from_parts().state_dict()
    assert list(one) == list(other)
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_is_its_parts(name):
    assert_same(*FAMILIES[name])


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_is_its_parts(name):
    family, head = GUIDES[name]
    model = pv.models.Latent(SPEC, latent_dim=3, prior=StandardNormal)
    assert_same(
        lambda: family(SPEC, model, hidden=[5], activation="elu"),
        lambda: pv.guides.Amortized(SPEC, model, hidden=[5], activation="elu", head=head),
    )


COPIED = [pv.models.VAE, pv.models.GammaVAE, pv.models.Autoencoder, pv.models.Discrete, pv.models.Vamp]


@pytest.mark.parametrize("family", COPIED)
def test_a_model_can_be_copied(family):
    """The prior of the copy is the copy's own: what becomes of the other does not reach it."""
    model = family(SPEC, latent_dim=8)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(torch.nan)
    prior = copied.prior()
    assert prior.event_shape[0] == 8
    z = torch.zeros(prior.event_shape)
    z[..., 0] = 1  # one-hot, too
    assert prior.log_prob(z).isfinite()


def test_a_class_of_torch_in_the_place_of_a_part_is_the_users_mistake_and_told_so():
    spec = Spec((4,), "binary")
    for make in (
        lambda: pv.models.VAE(spec, decoder=nn.Linear),
        lambda: pv.models.VAE(spec, prior=nn.Linear),
        lambda: pv.guides.Amortized(spec, pv.models.VAE(spec), encoder=nn.Dropout),
        lambda: pv.guides.Amortized(spec, pv.models.VAE(spec), encoder=nn.Flatten),
        lambda: pv.guides.Amortized(spec, pv.models.VAE(spec), encoder=lambda spec: nn.Linear),
    ):
        with pytest.raises(pv.errors.PplVaeError) as told:
            make()
        assert "please report it" not in str(told.value)
    with pytest.raises(pv.errors.PplVaeError, match=r"p\(z \| y\).*model=conditional"):
        pv.models.VAE(spec, prior=pv.nn.ConditionalPrior)


def test_what_a_users_own_part_raises_is_raised():
    class Broken(nn.Module):
        def __init__(self, spec, likelihood, features):
            super().__init__()
            self.linear = nn.Linear("four", features)

    with pytest.raises(TypeError) as told:
        pv.models.VAE(Spec((4,), "binary"), decoder=Broken)
    assert "which fails on" not in str(told.value)


@pytest.mark.parametrize("model", ["VAE", "ConvHierarchy", "GMVAE", "Hierarchical", "SemiSupervised", "Counts"])
def test_a_likelihood_may_be_given_as_its_class(model):
    shape = (1, 8, 8) if model == "ConvHierarchy" else (4,)
    spec = pv.datasets.Spec(shape, "counts", num_classes=2)
    made = getattr(pv.models, model)(spec, pv.likelihoods.Poisson)
    assert isinstance(made.likelihood, pv.likelihoods.Poisson)
    with pytest.raises(ArgumentError, match="likelihood=the class Linear that cannot be called as likelihood"):
        getattr(pv.models, model)(spec, torch.nn.Linear)
