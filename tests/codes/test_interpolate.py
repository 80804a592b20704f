"""Between two data: ends are their own reconstructions from means, ways lie in the support of the latents."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae.datasets import Spec
from ppl_vae.errors import ArgumentError, DataError
from tests.codes.test_decode import conditional, sequences


def echo(prior, q):
    """A pair that gives its latent back."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", prior().expand([2]).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", q(x).to_event(1))

    return pv.VAE(model, guide)


def normal():
    return echo(lambda: dist.Normal(0.0, 1.0), lambda x: dist.Normal(x, 1e-3))


A, B = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 1.0], [-3.0, 4.0]])


def test_a_line_and_a_circle():
    line = pv.interpolate(normal(), A, B, 5)
    assert line.shape == (2, 5, 2)
    torch.testing.assert_close(line[:, 0], A)
    torch.testing.assert_close(line[:, -1], B)
    torch.testing.assert_close(line[:, 2], (A + B) / 2)
    circle = pv.interpolate(normal(), A, B, 5, path="spherical")
    torch.testing.assert_close(circle[:, (0, -1)], line[:, (0, -1)])
    torch.testing.assert_close(circle.norm(dim=2), A.norm(dim=1)[:, None].expand(2, 5))


def test_a_way_between_a_datum_and_itself_stays_there():
    for path in ("linear", "spherical"):
        still = pv.interpolate(normal(), A, A, 4, path=path)
        torch.testing.assert_close(still, A[:, None].expand(2, 4, 2))


def test_a_way_stays_in_the_support():
    vae = echo(lambda: dist.Gamma(1.0, 1.0), lambda x: dist.Gamma(x.abs() + 1, 1.0))
    way = pv.interpolate(vae, torch.zeros(1, 2), torch.full((1, 2), 99.0), 3)
    torch.testing.assert_close(way[0, :, 0], torch.tensor([1.0, 10.0, 100.0]))  # straight in logarithms


def test_what_else_the_model_takes_is_that_of_the_start():
    c = torch.tensor([1.0, 2.0])
    way = pv.interpolate(conditional(), (A, c), (B, torch.zeros(2)), 3)
    expected = (A - 10 * c[:, None]) / 2 + 10 * c[:, None]
    torch.testing.assert_close(way[:, 0], expected)


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ArgumentError, match="steps=1"):
        pv.interpolate(normal(), A, B, 1)
    with pytest.raises(DataError, match="Got 2 data to start from and 1 to end at"):
        pv.interpolate(normal(), A, B[:1])
    coins = echo(lambda: dist.Bernoulli(0.5), lambda x: dist.Bernoulli(torch.sigmoid(x)))
    with pytest.raises(ArgumentError, match="between whose values nothing lies"):
        pv.interpolate(coins, A, B)


def test_an_autoencoder_has_ways_between_its_codes_though_no_prior():
    spec = Spec((6,), "real")
    model = pv.models.Autoencoder(spec, latent_dim=2)
    vae = pv.VAE(model, pv.guides.Deterministic(spec, model))
    start, end = torch.randn(3, 6), torch.randn(3, 6)
    way = pv.interpolate(vae, start, end, 3)
    middle = (pv.encode(vae, start)["z"].loc + pv.encode(vae, end)["z"].loc) / 2
    torch.testing.assert_close(way[:, 1], pv.decode(vae, middle, like=start))
    with torch.no_grad():
        torch.testing.assert_close(way[:, 1], model.likelihood(model.decoder(middle)).mean)


@pytest.mark.parametrize("event", [0, 1])
def test_latents_of_a_mixture_have_the_ways_of_its_components(event):
    def mixture():
        means, weights = torch.tensor([-1.0, 1.0]), dist.Categorical(torch.ones(2))
        if not event:
            return dist.MixtureSameFamily(weights, dist.LogNormal(means, 1.0)).expand([2]).to_event(1)
        return dist.MixtureSameFamily(weights, dist.LogNormal(means[:, None].expand(2, 2), 1.0).to_event(1))

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", mixture())
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.LogNormal(x, 0.1).to_event(1))

    vae, start, end = pv.VAE(model, guide), torch.zeros(1, 2), torch.ones(1, 2)
    ends = [pv.encode(vae, x)["z"].loc for x in (start, end)]
    way = pv.interpolate(vae, start, end, 3)
    torch.testing.assert_close(way[:, 1], (ends[0] * ends[1]).sqrt())  # halfway between the logarithms


def test_a_transformed_latent_stays_where_its_base_lets_it():
    """Of five times a beta torch says that it is on the whole line: halfway is between logits of a fifth."""

    def scaled(a, b):
        return dist.TransformedDistribution(dist.Beta(a, b), [dist.transforms.AffineTransform(0.0, 5.0)])

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", scaled(x.new_ones(2) * 2, x.new_ones(2) * 2).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", scaled(1 + x.exp(), 5 + x.exp()).to_event(1))

    vae, start, end = pv.VAE(model, guide), -torch.ones(1, 2), 3 * torch.ones(1, 2)
    ends = [(pv.encode(vae, x)["z"].loc / 5).logit() for x in (start, end)]
    way = pv.interpolate(vae, start, end, 3)
    torch.testing.assert_close(way[:, 1], 5 * ((ends[0] + ends[1]) / 2).sigmoid())
    unconstrained = pv.posterior(vae, start, draws=20)["unconstrained_posterior"]["z"]
    drawn = torch.tensor(pv.posterior(vae, start, draws=20)["posterior"]["z"].values)
    torch.testing.assert_close(torch.tensor(unconstrained.values), (drawn / 5).logit(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_ways_between_sequences_go_over_the_steps_that_both_have(path):
    vae, data = sequences()  # of 5, 2, 3, 4, 1 and 5 steps
    ways = pv.interpolate(vae, data[:3], data[3:], 3, path=path)
    assert ways.isnan().any(-1).sum(-1).tolist() == [[1] * 3, [4] * 3, [2] * 3]
    for place, part in ((0, data[:3]), (-1, data[3:])):  # codes are averages over the same draws
        own = pv.decode(vae, pv.encode(vae, part), like=part)
        for datum, steps in enumerate([4, 1, 3]):
            torch.testing.assert_close(ways[datum, place, :steps], own[datum, :steps])


@pytest.mark.parametrize("made", [dist.Categorical, dist.OneHotCategorical, dist.Bernoulli])
def test_discrete_latents_beside_continuous_ones_are_those_of_the_nearer_end(made):
    """x = 10 c + z with c the sign of the first column and z the second: all exact."""
    bits = made is dist.Bernoulli

    def likelihood(c, z):
        c = c if made is not dist.OneHotCategorical else c[..., 1]
        return dist.Normal(10 * c + z, 1.0)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.Bernoulli(0.5) if bits else made(torch.ones(2)))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            mean = likelihood(c, z).mean
            pyro.sample("x", dist.Normal(torch.stack([mean, mean], -1), 1.0).to_event(1), obs=x)

    def guide(x):
        p = (x[:, 0] > 0) * 0.98 + 0.01
        with pyro.plate("data", x.shape[0]):
            pyro.sample("c", dist.Bernoulli(p) if bits else made(torch.stack([1 - p, p], -1)))
            pyro.sample("z", dist.Normal(x[:, 1], 0.1))

    vae = pv.VAE(model, guide)
    start, end = torch.tensor([[-1.0, 0.0]]), torch.tensor([[1.0, 4.0]])
    ways = pv.interpolate(vae, start, end, 5)
    torch.testing.assert_close(ways[0, :, 0], torch.tensor([0.0, 1.0, 12.0, 13.0, 14.0]))


def test_a_pair_of_discrete_latents_alone_has_no_ways():
    data = pv.datasets.load("digits")
    model = pv.models.Discrete(data.spec, latent_dim=3, hidden=[8])
    vae = pv.VAE(model, pv.guides.DiscreteAmortized(data.spec, model, hidden=[8]))
    with pytest.raises(ArgumentError, match="'z', between whose values nothing lies"):
        pv.interpolate(vae, data.test[:2], data.test[2:4])
