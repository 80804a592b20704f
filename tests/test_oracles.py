"""The oracles against brute force: quadrature, joint Gaussians, importance weights that do not vary."""

import math

import pyro.poutine as poutine
import pytest
import torch
from torch.distributions import Normal

from tests.oracles import (
    CONJUGATE,
    F64,
    LinearGaussian,
    linear_gaussian,
    normal_hierarchy,
)


def log_weight(model, guide, x):
    """log p(x, z) − log q(z) of one draw: at an exact posterior it is log p(x), whatever the draw."""
    q = poutine.trace(guide).get_trace(x)
    p = poutine.trace(poutine.replay(model, q)).get_trace(x)
    return p.log_prob_sum() - q.log_prob_sum()


@pytest.mark.parametrize("orthogonal", [False, True])
def test_linear_gaussian_weights_are_constant_at_the_posterior(orthogonal):
    oracle = linear_gaussian(orthogonal=orthogonal)
    model, guide = oracle.pair(diagonal=orthogonal)
    for _ in range(3):
        torch.testing.assert_close(log_weight(model, guide, oracle.x), oracle.log_evidence().sum(), rtol=1e-12, atol=0)


def test_linear_gaussian_evidence_by_quadrature():
    weight, bias = torch.tensor([[1.3], [-0.4]], dtype=F64), torch.tensor([0.2, 1.0], dtype=F64)
    oracle = LinearGaussian(weight, bias, 0.5, torch.tensor([[0.7, 0.1]], dtype=F64))
    z = torch.linspace(-12, 12, 20001, dtype=F64)
    likelihood = Normal(z[:, None] * weight[:, 0] + bias, 0.5).log_prob(oracle.x).sum(1)
    integral = torch.trapezoid((Normal(0.0, 1.0).log_prob(z) + likelihood).exp(), z)
    torch.testing.assert_close(oracle.log_evidence()[0], integral.log(), rtol=1e-10, atol=0)


def test_elbo_is_evidence_less_the_divergence():
    oracle = linear_gaussian()
    mean, covariance = oracle.posterior()
    torch.testing.assert_close(oracle.elbo(mean, covariance), oracle.log_evidence(), rtol=1e-12, atol=0)
    wrong, wide = mean + 0.3, covariance * 2
    gap = oracle.log_evidence() - oracle.elbo(wrong, wide)
    q = torch.distributions.MultivariateNormal(wrong, wide)
    p = torch.distributions.MultivariateNormal(mean, covariance)
    torch.testing.assert_close(gap, torch.distributions.kl_divergence(q, p), rtol=1e-10, atol=1e-12)


def test_elbo_gradient_equals_autograd():
    oracle = linear_gaussian()
    mean, covariance = (t.clone().requires_grad_() for t in oracle.posterior())
    with torch.no_grad():
        mean += 0.2
        covariance *= 1.7
    expected = torch.autograd.grad(oracle.elbo(mean, covariance).sum(), (mean, covariance))
    for exact, automatic in zip(oracle.elbo_gradient(mean, covariance), expected, strict=True):
        torch.testing.assert_close(exact, automatic, rtol=1e-10, atol=1e-12)
    for zero in oracle.elbo_gradient(*oracle.posterior()):
        assert zero.abs().max() < 1e-12


def test_renyi_bound_by_quadrature_and_its_limit():
    weight, bias = torch.tensor([[1.3], [-0.4]], dtype=F64), torch.zeros(2, dtype=F64)
    oracle = LinearGaussian(weight, bias, 0.5, torch.tensor([[0.7, 0.1]], dtype=F64))
    mean, covariance = torch.tensor([[0.1]], dtype=F64), torch.tensor([[0.15]], dtype=F64)
    z = torch.linspace(-12, 12, 20001, dtype=F64)
    joint = Normal(z[:, None] * weight[:, 0], 0.5).log_prob(oracle.x).sum(1) + Normal(0.0, 1.0).log_prob(z)
    q = Normal(mean[0, 0], math.sqrt(0.15)).log_prob(z)
    for alpha in (0.5, 2.0):
        integral = torch.trapezoid((q + (1 - alpha) * (joint - q)).exp(), z)
        torch.testing.assert_close(
            oracle.renyi(alpha, mean, covariance)[0], integral.log() / (1 - alpha), rtol=1e-8, atol=0
        )
    near = oracle.renyi(1 + 1e-6, mean, covariance)
    torch.testing.assert_close(near, oracle.elbo(mean, covariance), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", CONJUGATE)
def test_conjugate_weights_are_constant_at_the_posterior(name):
    oracle = CONJUGATE[name]()
    for _ in range(3):
        torch.testing.assert_close(
            log_weight(oracle.model, oracle.guide(), oracle.x), oracle.log_evidence, rtol=1e-10, atol=0
        )
    off = oracle.guide(1.3).distribution
    assert oracle.elbo(off) < oracle.log_evidence - 1e-3
    torch.testing.assert_close(oracle.elbo(oracle.posterior), oracle.log_evidence)


@pytest.mark.parametrize("name", ["beta_bernoulli", "dirichlet_categorical"])
def test_predictive_sums_to_one(name):
    oracle = CONJUGATE[name]()
    values = torch.arange(2.0 if name == "beta_bernoulli" else 3).to(oracle.x.dtype)
    torch.testing.assert_close(oracle.log_predictive(values).exp().sum(), torch.tensor(1.0, dtype=F64))


def test_hierarchy_weights_are_constant_at_the_posterior():
    oracle = normal_hierarchy()
    guide = oracle.guide()
    for _ in range(3):
        torch.testing.assert_close(log_weight(oracle.model, guide, oracle.x), oracle.log_evidence(), rtol=1e-12, atol=0)
    assert oracle.elbo(guide.loc + 1, guide.log_scale.exp()) < oracle.log_evidence()
