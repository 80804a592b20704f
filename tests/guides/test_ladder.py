"""Guides of hierarchies: merging against products of normals, KLs against draws, and the exact evidence of a chain."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.guides.ladder import merged
from ppl_vae.nn.heads import MIN_SCALE, inverse_softplus
from ppl_vae.nn.priors import StandardNormal
from tests.models.test_pairs import PAIRS

F64 = torch.float64


def test_merging_is_the_product_of_normals():
    """log q − log p − log of the factor is one constant wherever it is asked, and q is normalized: so it is q."""
    torch.manual_seed(0)
    p = dist.Normal(torch.randn(4, 3, dtype=F64), torch.rand(4, 3, dtype=F64) + 0.2).to_event(1)
    loc, scale = torch.randn(4, 3, dtype=F64), torch.rand(4, 3, dtype=F64) + 0.2
    q = merged(p, loc * scale**-2, scale**-2)
    z = torch.randn(50, 4, 3, dtype=F64)
    rest = q.log_prob(z) - p.log_prob(z) - dist.Normal(loc, scale).to_event(1).log_prob(z)
    torch.testing.assert_close(rest, rest[:1].expand_as(rest))
    # the constant is −log ∫ p(z) Normal(z; loc, scale) dz
    evidence = dist.Normal(p.base_dist.loc, (p.base_dist.scale**2 + scale**2).sqrt()).to_event(1).log_prob(loc)
    torch.testing.assert_close(rest[0], -evidence)


def test_a_factor_that_says_nothing_leaves_the_prior():
    p = dist.Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])).to_event(1)
    q = merged(p, torch.zeros(2), torch.zeros(2))
    torch.testing.assert_close((q.mean, q.stddev), (p.mean, p.stddev))


@pytest.mark.parametrize("name", ["hierarchical, ladder", "hierarchical, top down", "conv hierarchy"])
def test_the_closed_kl_of_each_layer_is_the_mean_of_draws(name):
    """800 particles, twelve data, two or three layers: within 5 standard errors; one false alarm in 50,000 runs."""
    model, guide, (x,) = PAIRS[name]()
    with torch.no_grad():
        for parameter in {*model.parameters(), *guide.parameters()}:  # away from a KL of zero
            parameter.add_(0.1 * torch.randn_like(parameter))
    t = pv.terms(pv.VAE(model, guide), x, particles=800)
    sites = [site for site in t.guide if site.startswith("z")]
    assert len(sites) >= 2
    for site in sites:
        p, q = t.model[site], t.guide[site]
        closed = torch.distributions.kl_divergence(q.fn, p.fn)
        drawn = q.log_prob - p.log_prob
        # given the parents of each draw, whose KLs differ from draw to draw
        error = (drawn - closed).std(0) / math.sqrt(800)
        assert ((drawn - closed).mean(0).abs() < 5 * error + 1e-4).all()
        assert closed.mean() > 0.01


class Chain(nn.Module):
    """z2 ~ N(0, 1), z1 | z2 ~ N(a z2, s²), x_d | z1 ~ N(w_d z1 + b_d, t²): all is normal, and its evidence known."""

    latent_dim = (1, 1)
    a, s, t = 0.8, 0.6, 0.7

    def __init__(self):
        super().__init__()
        self.w = torch.tensor([1.0, -0.5, 0.3], dtype=F64)
        self.b = torch.tensor([0.2, 0.0, -1.0], dtype=F64)
        self.prior = StandardNormal(1).double()
        self.layers = [lambda z: dist.Normal(self.a * z, self.s * torch.ones_like(z)).to_event(1)]

    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z2", self.prior())
            z = pyro.sample("z1", self.layers[0](z))
            pyro.sample("x", dist.Normal(z * self.w + self.b, self.t).to_event(1), obs=x)

    def evidence(self, x):
        variance = self.a**2 + self.s**2
        covariance = variance * torch.outer(self.w, self.w) + self.t**2 * torch.eye(3, dtype=F64)
        return torch.distributions.MultivariateNormal(self.b, covariance).log_prob(x)


def test_the_ladder_reaches_the_evidence_of_a_linear_chain():
    """With what x says of z1 and of z2 by hand, every draw's weight is the evidence: the family holds the posterior."""
    model = Chain()
    guide = pv.guides.Ladder(pv.datasets.Spec((3,), "real"), model, hidden=(1, 1), depth=0).double()
    given_z2 = model.s**2 * torch.outer(model.w, model.w) + model.t**2 * torch.eye(3, dtype=F64)
    said = {1: model.w / model.t**2, 2: model.a * torch.linalg.solve(given_z2, model.w)}  # η = said · (x − b)
    precision = {1: said[1] @ model.w, 2: model.a * said[2] @ model.w}
    with torch.no_grad():
        for level, layer in enumerate(guide.factor, start=1):
            layer.weight.copy_(torch.stack([said[level], torch.zeros(3, dtype=F64)]))
            raw = inverse_softplus(precision[level].item() - MIN_SCALE)
            layer.bias.copy_(torch.tensor([-(said[level] @ model.b).item(), raw], dtype=F64))
    x = model.b + 2 * torch.randn(50, 3, dtype=F64)
    weights = pv.terms(pv.VAE(model, guide), x, particles=7).log_weights
    torch.testing.assert_close(weights, model.evidence(x).expand(7, 50), rtol=0, atol=1e-9)


def test_the_ladder_shares_the_networks_of_its_model():
    model, guide, (x,) = PAIRS["hierarchical, ladder"]()
    assert guide.down is model.layers
    vae = pv.VAE(model, guide)
    once = sum(p.numel() for p in vae.parameters())
    assert once < sum(p.numel() for p in model.parameters()) + sum(p.numel() for p in guide.parameters())
    assert pv.terms(vae, x).log_weights.isfinite().all()


def test_a_latent_of_little_use_still_hears_of_x():
    """The gradient of q's mean with respect to what x says does not vanish with the precision of what it says."""
    p = dist.Normal(torch.zeros(1), 1.0).to_event(1)
    eta = torch.zeros(1, requires_grad=True)
    merged(p, eta, torch.full((1,), 1e-6)).mean.sum().backward()
    assert eta.grad.item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("prior", [pv.nn.MixturePrior, pv.nn.FlowPrior])
def test_what_cannot_be_merged_with_is_refused_when_the_guide_is_made(prior):
    spec = pv.datasets.Spec((3,), "real")
    with pytest.raises(pv.errors.PplVaeError, match=r"expected independent normals.*guide=top_down"):
        pv.guides.Ladder(spec, pv.models.Hierarchical(spec, prior=prior))
    with pytest.raises(pv.errors.PplVaeError, match=r"latent_dim=8, expected a list"):
        pv.guides.Ladder(spec, pv.models.VAE(spec))
