"""Codes of data are the guide's moments: closed forms, under every way of drawing particles."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import ArgumentError, CheckError

X = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])


def model_of(draw, shape=()):
    """A model of latents that `draw` samples, and x about 0."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            draw(x)
            pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1), obs=x)

    return model


def standard(x):
    pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def test_a_guide_that_knows_its_moments_is_told_exactly():
    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x / 3, x.square() + 0.1).to_event(1))

    code = pv.encode(pv.VAE(model_of(standard), guide), X)["z"]
    assert code.is_exact
    assert torch.equal(code.loc, X / 3)
    torch.testing.assert_close(code.scale, X.square() + 0.1)


@pytest.mark.parametrize(
    ("prior", "q"),
    [
        (lambda: dist.Gamma(2.0, 1.0), lambda a: dist.Gamma(a + 1, 2.0)),
        (lambda: dist.Beta(1.0, 1.0), lambda a: dist.Beta(a + 1, 2.0)),
        (lambda: dist.LogNormal(0.0, 1.0), lambda a: dist.LogNormal(a, 0.3)),
        (lambda: dist.Bernoulli(0.5), lambda a: dist.Bernoulli(torch.sigmoid(a))),
        (lambda: dist.Poisson(1.0), lambda a: dist.Poisson(a + 1)),
    ],
    ids=["gamma", "beta", "log normal", "bernoulli", "poisson"],
)
def test_each_family_has_its_own_moments(prior, q):
    def draw(x):
        pyro.sample("z", prior())

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", q(x[:, 0]))

    code = pv.encode(pv.VAE(model_of(draw), guide), X)["z"]
    assert code.is_exact
    torch.testing.assert_close(code.loc, q(X[:, 0]).mean)
    torch.testing.assert_close(code.scale, q(X[:, 0]).variance.sqrt())


def test_categories_have_the_probabilities_of_their_values():
    def draw(x):
        pyro.sample("c", dist.Categorical(torch.ones(3)))

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("c", dist.Categorical(logits=torch.stack([x[:, 0], x[:, 1], 0 * x[:, 0]], -1)))

    code = pv.encode(pv.VAE(model_of(draw), guide), X)["c"]
    p = torch.cat([X, torch.zeros(3, 1)], 1).softmax(1)
    assert code.is_exact
    torch.testing.assert_close(code.loc, p)
    torch.testing.assert_close(code.scale, (p * (1 - p)).sqrt())


def two_levels(vectorized=True):
    """z₂ ~ N(x, ½²), z₁ | z₂ ~ N(2 z₂, 0.3²): z₁ has mean 2x and variance 0.09 + 1."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            upper = pyro.sample("z2", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("z1", dist.Normal(upper, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            upper = pyro.sample("z2", dist.Normal(x, 0.5).to_event(1))
            loc = 2 * upper if vectorized else torch.stack([2 * row for row in upper.reshape(x.shape)])
            pyro.sample("z1", dist.Normal(loc, 0.3).to_event(1))

    return pv.VAE(model, guide)


@pytest.mark.parametrize("vectorized", [True, False], ids=["plate", "one at a time"])
def test_a_hierarchy_is_averaged_over_what_it_depends_on_alone(vectorized):
    K = 4000
    codes = pv.encode(two_levels(vectorized), X, num_particles=K)
    assert codes["z2"].is_exact
    assert not codes["z1"].is_exact
    # 5 standard errors of 6 numbers each: false alarm 4e-6 (means), and a normal's variance of a variance
    assert ((codes["z1"].loc - 2 * X).abs() < 5 / K**0.5).all()
    assert ((codes["z1"].scale.square() - 1.09).abs() < 5 * (2 / K) ** 0.5).all()


def test_a_coin_above_is_no_exact_code_of_one_datum():
    """Two draws of a coin may fall alike: what depends on it is known by following values, not by luck."""

    def draw(x):
        pyro.sample("c", dist.Bernoulli(0.5))
        pyro.sample("z", dist.Normal(0.0, 1.0))

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.Bernoulli(0.5).expand([x.shape[0]]))
            pyro.sample("z", dist.Normal(4 * c, 0.1))

    vae = pv.VAE(model_of(draw), guide)
    for seed in range(8):
        code = pv.encode(vae, X[:1], seed=seed, num_particles=200)["z"]
        assert not code.is_exact
        assert abs(float(code.loc) - 2) < 5 * 2 / 200**0.5


def test_a_flow_counts_with_its_draws():
    def draw(x):
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            base = dist.Normal(x, 1.0).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [dist.transforms.AffineTransform(1.0, 2.0)]))

    K = 4000
    code = pv.encode(pv.VAE(model_of(draw), guide), X, num_particles=K)["z"]
    assert not code.is_exact
    assert ((code.loc - (1 + 2 * X)).abs() < 5 * 2 / K**0.5).all()
    assert ((code.scale - 2).abs() < 5 * 2 / (2 * K) ** 0.5).all()


def test_the_axes_of_inner_plates_follow_that_of_data():
    def model(x):
        with pyro.plate("data", x.shape[0], dim=-2), pyro.plate("parts", 2, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0], dim=-2), pyro.plate("parts", 2, dim=-1):
            pyro.sample("z", dist.Normal(x / 2, 0.5))

    vae = pv.VAE(model, guide, data_plate="data")
    code = pv.encode(vae, X)["z"]
    assert code.is_exact
    torch.testing.assert_close(code.loc, X / 2)
    torch.testing.assert_close(pv.decode(vae, code.loc), X / 2)


def test_neither_blocks_nor_the_callers_random_state_matter():
    vae, many = two_levels(), torch.randn(3000, 2, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    whole = pv.encode(vae, many, num_particles=200)
    assert torch.equal(torch.get_rng_state(), before)
    again = pv.encode(vae, many, num_particles=200, memory="64MB")
    assert all(torch.equal(whole[name].loc, again[name].loc) for name in whole)
    assert whole["z1"].loc.shape == (3000, 2)


def test_what_has_no_code_is_refused():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(w, 1.0).expand([2]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(0.0, 1.0))

    with pytest.raises(CheckError, match="no latent in the data plate"):
        pv.encode(pv.VAE(model, guide), X)
    with pytest.raises(ArgumentError, match="num_particles=1"):
        pv.encode(two_levels(), X, num_particles=1)
