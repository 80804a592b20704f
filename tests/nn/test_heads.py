"""Heads: features to distributions over latents and counts."""

import numpy as np
import pytest
import scipy.stats
import torch

from ppl_vae.distributions.multinomial import Multinomial
from ppl_vae.nn.heads import Dirichlet, FullRankNormal, Gamma


@pytest.mark.parametrize("lead", [(), (4,), (3, 4)])
@pytest.mark.parametrize("head", [FullRankNormal(6, 3), Dirichlet(6, 3), Gamma(6, 3)], ids=lambda h: type(h).__name__)
def test_shapes_and_gradients(head, lead):
    h = torch.randn(*lead, 6) if lead else torch.randn(6)
    q = head(h)
    assert (q.batch_shape, q.event_shape) == (lead, (3,))
    z = q.rsample()
    assert q.support.check(z).all()
    q.log_prob(z).sum().backward()
    assert head.linear.weight.grad.isfinite().all()
    head.zero_grad()


def test_full_rank_covariance_is_positive_definite_for_any_features():
    q = FullRankNormal(6, 5)(1e3 * torch.randn(100, 6))
    assert (torch.linalg.eigvalsh(q.covariance_matrix.double()) > -1e-3).all()
    assert (q.scale_tril.diagonal(dim1=-2, dim2=-1) > 0).all()


def test_gamma_head_is_finite_at_extreme_features():
    head = Gamma(2, 1)
    q = head(torch.tensor([[1e4, 1e4], [-1e4, -1e4], [1e4, -1e4]]))
    assert q.log_prob(torch.ones(3, 1)).isfinite().all()


def test_multinomial_equals_scipy():
    logits, n = torch.randn(4, 5, dtype=torch.float64), torch.tensor([3.0, 7.0, 0.0, 50.0], dtype=torch.float64)
    px = Multinomial(logits, n)
    x = px.sample()
    assert torch.equal(x.sum(-1), n)
    probs = logits.softmax(-1).numpy()
    expected = [scipy.stats.multinomial(int(n[i]), probs[i]).logpmf(x[i].numpy()) for i in range(4)]
    np.testing.assert_allclose(px.log_prob(x), expected, rtol=1e-8, atol=1e-8)


def test_multinomial_sample_mean():
    """20,000 draws, tolerance 5 standard errors: false alarm below 1e-5."""
    px = Multinomial(torch.randn(3, 4), torch.tensor([1.0, 5.0, 20.0]))
    x = px.expand([2, 3]).sample((10_000,)).flatten(0, 1)
    assert ((x.mean(0) - px.mean).abs() < 5 * x.std(0) / 20_000**0.5).all()
