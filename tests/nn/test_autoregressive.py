"""The autoregressive decoder is a density over all x, and its draws follow it."""

import itertools

import torch

from ppl_vae import likelihoods, nn
from ppl_vae.datasets.spec import Spec


def test_probabilities_of_all_x_add_up_to_one_and_are_those_of_draws():
    """30,000 draws of 16 possible x, tolerance 5 standard errors: false alarm below 1e-4."""
    spec = Spec((2, 2, 1), "binary", mean=torch.full((2, 2, 1), 0.3))
    decoder = nn.AutoregressiveDecoder(spec, likelihoods.Bernoulli(spec), 3, hidden=[16])
    for p in decoder.parameters():
        torch.nn.init.normal_(p, std=0.7)
    px = decoder(torch.randn(3))
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).reshape(16, 2, 2, 1)
    probs = px.expand([16]).log_prob(every).exp().detach()
    torch.testing.assert_close(probs.sum(), torch.tensor(1.0))
    codes = (px.sample((30_000,)).reshape(-1, 4) @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long()
    counted = torch.bincount(codes, minlength=16) / 30_000
    assert ((counted - probs).abs() < 5 * (probs * (1 - probs) / 30_000).sqrt()).all()


def test_starts_at_the_training_mean():
    mean = torch.tensor([0.1, 0.5, 0.9])
    spec = Spec((3,), "binary", mean=mean)
    decoder = nn.AutoregressiveDecoder(spec, likelihoods.Bernoulli(spec), 2)
    for layer in decoder.net.layers:
        torch.nn.init.zeros_(layer.weight)
    torch.testing.assert_close(decoder.elements(torch.zeros(3), torch.zeros(2)).base_dist.mean, mean)
