"""Every ready-made family, trained shortly, knows more of held-out data than elements by themselves do."""

import inspect
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

import ppl_vae as pv

BINARY = {"binarization": "static", "validation": 0, "test": 300}
"""Digits, of which 300 are held out."""

PAIRS = {
    "vae": (pv.models.VAE, pv.guides.Amortized),
    "mixture prior": (partial(pv.models.VAE, prior=pv.nn.MixturePrior), pv.guides.Amortized),
    "flow prior": (partial(pv.models.VAE, prior=pv.nn.FlowPrior), pv.guides.Amortized),
    "full rank": (pv.models.VAE, pv.guides.FullRank),
    "iaf": (pv.models.VAE, pv.guides.FlowAmortized),
    "coupling": (pv.models.VAE, partial(pv.guides.FlowAmortized, flow="coupling")),
    "derived": (pv.models.VAE, pv.guides.Derived),
    "conv": (pv.models.ConvVAE, pv.guides.ConvAmortized),
    "autoregressive": (pv.models.AutoregressiveVAE, pv.guides.Amortized),
    "gamma": (pv.models.GammaVAE, pv.guides.GammaAmortized),
    "bottom up": (pv.models.Hierarchical, pv.guides.BottomUp),
    "top down": (pv.models.Hierarchical, pv.guides.TopDown),
    "gmvae": (pv.models.GMVAE, pv.guides.MixtureAmortized),
    "vamp": (pv.models.Vamp, pv.guides.VampPosterior),
    "quantized": (pv.models.Quantized, pv.guides.QuantizedAmortized),
}


SLOW = ("conv", "quantized")
"""Families that need more steps."""


def trained(model, guide, data, epochs=15):
    torch.manual_seed(0)
    given = {"spec": data.spec, "model": model(data.spec)}
    taken = inspect.signature(guide).parameters
    vae = pv.VAE(given["model"], guide(**{name: value for name, value in given.items() if name in taken}))
    adam = partial(torch.optim.Adam, lr=3e-3)
    pv.fit(vae, data.train, optimizer=adam, epochs=epochs, batch_size=64, seed=0, progress=False)
    return vae


def bound(vae, data) -> np.ndarray:
    return pv.evaluate(vae, data.test, num_particles=20, seed=0).by_datum["elbo"]


def surely_more(ours, baseline) -> None:
    """By five standard errors of the difference over held-out data: without a gain, once in three million times."""
    gain = np.asarray(ours) - np.asarray(baseline)
    assert gain.mean() > 5 * gain.std(ddof=1) / len(gain) ** 0.5


def pixels(train: Tensor, test: Tensor) -> Tensor:
    """log p of each datum by its pixels alone, at their training means, with one more of each value."""
    means = (train.sum(0) + 1) / (len(train) + 2)
    return Bernoulli(means).log_prob(test).flatten(1).sum(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_pixels_by_themselves(name):
    data = pv.datasets.load("digits", **BINARY)
    vae = trained(*PAIRS[name], data, epochs=40 if name in SLOW else 15)
    surely_more(bound(vae, data), pixels(data.train.batch()[0], data.test.batch()[0]))


@pytest.mark.slow
def test_an_autoencoder_reconstructs_better_than_means():
    """It has no density of x: what is compared is log p(x | z)."""
    data = pv.datasets.load("digits", **BINARY)
    vae = trained(pv.models.Autoencoder, pv.guides.Deterministic, data)
    found = pv.evaluate(vae, data.test, num_particles=1, seed=0).by_datum["log_likelihood"]
    surely_more(found, pixels(data.train.batch()[0], data.test.batch()[0]))


@pytest.mark.slow
def test_pixels_by_themselves_of_each_class():
    """p(x | y) against the means of each class."""
    data = pv.datasets.load("digits", with_labels=True, **BINARY)
    vae = trained(pv.models.Conditional, pv.guides.ConditionalAmortized, data, epochs=40)
    (x, y), (held_out, labels) = data.train.batch(), data.test.batch()
    baseline = [pixels(x[y == k], one[None])[0] for one, k in zip(held_out, labels, strict=True)]
    surely_more(bound(vae, data), baseline)


@pytest.mark.slow
def test_pixels_by_themselves_with_labels_for_some():
    """p(x), the class summed out."""
    data = pv.datasets.load("digits", labelled=300, **BINARY)
    vae = trained(pv.models.SemiSupervised, pv.guides.SemiSupervisedAmortized, data, epochs=40)
    x, held_out = (split.batch()[0] for split in (pv.datasets.load("digits", **BINARY).train, data.test))
    found = pv.evaluate(vae, held_out, num_particles=20, seed=0).by_datum["elbo"]
    surely_more(found, pixels(x, held_out))


@pytest.mark.slow
def test_topics_know_more_than_the_frequencies_of_words():
    """Documents of three topics, 60 words each, of a vocabulary of 40; both are laws of the words, given how many."""
    rng = np.random.default_rng(0)
    topics = rng.dirichlet(np.full(40, 0.1), 3)
    shares = rng.dirichlet(np.full(3, 0.2), 900)
    words = torch.tensor(np.stack([rng.multinomial(60, p / p.sum()) for p in shares @ topics])).float()
    data = pv.datasets.from_arrays(words, None, 300)
    vae = trained(partial(pv.models.Topics, latent_dim=3), pv.guides.DirichletAmortized, data)
    train, test = data.train.batch()[0], data.test.batch()[0]
    frequencies = (train.sum(0) + 1) / (train.sum() + 40)
    baseline = torch.distributions.Multinomial(60, frequencies).log_prob(test)
    surely_more(bound(vae, data), baseline)


@pytest.mark.slow
def test_sequences_know_more_than_their_steps():
    """Walks of 4 to 9 steps, against one normal law for all steps."""
    rng = np.random.default_rng(0)
    lengths = torch.tensor(rng.integers(4, 10, 700))
    x = torch.tensor(rng.normal(0, 1, (700, 9, 2)).cumsum(1)).float()
    data = pv.datasets.from_arrays({"x": x, "lengths": lengths}, None, 200)
    vae = trained(pv.models.StateSpace, pv.guides.Recurrent, data)
    (train, n), (test, m) = data.train.batch(), data.test.batch()
    steps = torch.arange(9)
    seen = train[steps < n[:, None]]
    each = Normal(seen.mean(0), seen.std(0)).log_prob(test).sum(-1)
    surely_more(bound(vae, data), torch.where(steps < m[:, None], each, 0.0).sum(-1))
