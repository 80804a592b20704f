"""Closed KLs against sums over values, and at the edge where torch's are infinite."""

import pyro.distributions as dist
import pytest
import torch

from ppl_vae.core.closed_kl import closed_kl

F64 = torch.float64
CODES = {
    "bernoulli": lambda logits: dist.Bernoulli(logits=logits[..., 0]),
    "categorical": lambda logits: dist.Categorical(logits=logits),
    "one-hot": lambda logits: dist.OneHotCategorical(logits=logits),
    "one-hot, an event": lambda logits: dist.OneHotCategorical(logits=logits).to_event(1),
    "normal": lambda logits: dist.Normal(logits, 1.0).to_event(2),
}


@pytest.mark.parametrize("name", CODES)
def test_it_is_torchs_where_that_is_finite(name: str) -> None:
    torch.manual_seed(0)
    q, p = (CODES[name](3 * torch.randn(4, 2, 5, dtype=F64)) for _ in range(2))
    torch.testing.assert_close(closed_kl(q, p), torch.distributions.kl_divergence(q, p))


@pytest.mark.parametrize("impossible", [0.0, 1.0])
def test_a_value_that_the_prior_excludes(impossible: float) -> None:
    """The KL is the mean of log q − log p over values, and its gradient leads away from them."""
    logit = torch.tensor(0.3, dtype=F64, requires_grad=True)
    q, p = dist.Bernoulli(logits=logit), dist.Bernoulli(torch.tensor(impossible, dtype=F64))
    values = q.enumerate_support()
    mean = (q.log_prob(values).exp() * (q.log_prob(values) - p.log_prob(values))).sum()
    found = closed_kl(q, p)
    torch.testing.assert_close(found, mean)
    (slope,) = torch.autograd.grad(found, logit)
    assert bool(slope.isfinite())
    assert (slope > 0) == (impossible == 0.0)


def test_shapes_broadcast_and_what_has_none_is_none() -> None:
    q, p = dist.Bernoulli(torch.full((3, 1), 0.2)), dist.Bernoulli(torch.full((4,), 0.7))
    assert closed_kl(q, p).shape == (3, 4)
    assert closed_kl(dist.VonMises(0.0, 1.0), dist.Normal(0.0, 1.0)) is None
    masked = dist.Bernoulli(torch.full((3,), 0.2)).mask(torch.tensor([True, False, True]))
    assert closed_kl(masked, masked.expand((2, 3))).tolist() == [[0.0] * 3] * 2
