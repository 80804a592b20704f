"""Missing values given the others: exact conditional means of a linear-Gaussian model, whatever the guide."""

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import CheckError, DataError

W = torch.tensor([[1.0, 0.5, -1.0, 0.3], [0.2, -0.8, 0.4, 1.0]])
SD = 0.4


def factor_analysis(width=1.0, shift=0.0):
    """z ~ N(0, I), x | z ~ N(z W, SD²); the guide is the posterior given what is seen, wider and moved."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ W, SD).mask(~x.isnan()).to_event(1), obs=x)

    def guide(x):
        seen = (~x.isnan()).to(x.dtype)
        precision = torch.eye(2) + torch.einsum("ij,nj,kj->nik", W, seen, W) / SD**2
        covariance = precision.inverse()
        loc = (covariance @ (W @ (x.nan_to_num() * seen).T / SD**2).T[..., None])[..., 0]
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.MultivariateNormal(loc + shift, covariance * width**2))

    return pv.VAE(model, guide)


def exact(x):
    """E[x_m | x_o] and its covariance's diagonal, datum by datum."""
    joint = W.T @ W + SD**2 * torch.eye(4)
    filled, variance = x.clone(), torch.zeros_like(x)
    for i, row in enumerate(x):
        o, m = ~row.isnan(), row.isnan()
        gain = joint[m][:, o] @ joint[o][:, o].inverse()
        filled[i, m] = gain @ row[o]
        variance[i, m] = (joint[m][:, m] - gain @ joint[o][:, m]).diagonal()
    return filled, variance


def data(n=30):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, generator=generator) @ W + SD * torch.randn(n, 4, generator=generator)
    gone = torch.rand(n, 4, generator=generator) < 0.3
    gone[:, 0] = False
    return torch.where(gone, torch.nan, x)


@pytest.mark.parametrize(("width", "shift"), [(1.0, 0.0), (1.5, 0.3)], ids=["exact guide", "wide and shifted guide"])
def test_means_and_draws_are_those_of_the_exact_conditional(width, shift):
    x, K = data(), 4000
    found = pv.impute(factor_analysis(width, shift), x, num_particles=K, draws=200)
    mean, variance = exact(x)
    missing = x.isnan()
    assert torch.equal(found.is_missing, missing)
    assert torch.equal(found.x[~missing], x[~missing])
    assert (found.draws[:, ~missing] == x[~missing]).all()
    # weights of the shifted guide: at least a quarter of the particles count; 6 standard errors of some 30 numbers
    assert ((found.x - mean)[missing].abs() < 6 * (variance[missing] * 4 / K).sqrt()).all()
    spread = found.draws.var(0)[missing] / variance[missing]
    assert abs(float(spread.mean()) - 1) < 0.05
    assert (found.pareto_k < 0.7).all()


def test_the_guide_alone_is_not_believed():
    """A guide that is shifted by much: unweighted reconstructions are wrong by its shift, imputations are not."""
    x, vae = data(), factor_analysis(1.5, 0.5)
    mean = exact(x)[0]
    missing = x.isnan()
    plain = pv.reconstruct(vae, x, num_particles=4000)
    weighted = pv.impute(vae, x, num_particles=4000).x
    worse, better = ((y - mean)[missing].abs().mean() for y in (plain, weighted))
    assert better < worse / 5


def test_known_values_are_held_where_others_depend_on_them():
    """x | z, y ~ N(z + 100 y, 1), where y is known: it is not drawn anew."""

    def model(x, y):
        with pyro.plate("data", x.shape[0]):
            y = pyro.sample("y", dist.Bernoulli(0.5).expand([x.shape[0]]), obs=y)
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            likelihood = dist.Normal(z + 100 * y[:, None], 1.0).mask(~x.isnan())
            pyro.sample("x", likelihood.to_event(1), obs=x)

    def guide(x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(torch.zeros(x.shape[0], 2), 1.0).to_event(1))

    y = torch.tensor([0.0, 1.0])
    x = torch.tensor([[0.0, torch.nan], [torch.nan, 100.0]])
    found = pv.impute(pv.VAE(model, guide), (x, y), num_particles=2000)
    assert torch.equal(found.x["y"], y)
    assert abs(float(found.x["x"][0, 1])) < 0.2
    assert abs(float(found.x["x"][1, 0]) - 100) < 0.2


@pytest.mark.parametrize("draws", [0, 2])
def test_data_of_which_nothing_is_missing_come_back(draws):
    """For a pair that would mask it: one file of many may be whole."""
    x = data().nan_to_num()
    found = pv.impute(factor_analysis(), x, draws=draws, num_particles=10)
    assert torch.equal(found.x, x)
    assert not bool(found.is_missing.any())
    assert found.draws is None if not draws else torch.equal(found.draws, x.expand(2, *x.shape))


def test_a_pair_that_masks_nothing_has_nothing_missing():
    """A ready-made one is told by its data that values may be missing."""
    x = data().nan_to_num().numpy()
    for missing in (False, True):
        told = pv.datasets.from_arrays(x, missing=missing)
        model = pv.models.VAE(told.spec, latent_dim=2, hidden=[4])
        vae = pv.VAE(model, pv.guides.Amortized(told.spec, model, hidden=[4]))
        whole = told.train[:3].batch()[0]
        if missing:
            assert torch.equal(pv.impute(vae, whole, num_particles=10).x, whole)
            continue
        with pytest.raises(CheckError, match=r"Nothing is missing in these data, .* With one: Got 1 missing"):
            pv.impute(vae, whole, num_particles=10)
        with pytest.raises(
            DataError, match=r"train VAE on data that say .* dataset.missing=true \(in Python missing=True"
        ):
            pv.impute(vae, whole.index_fill(1, torch.tensor([0]), torch.nan), num_particles=10)


def test_what_is_not_masked_is_refused():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None].expand(x.shape), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x.nan_to_num().mean(1), 1.0))

    with pytest.raises(DataError, match=r"missing .* mask them in the model \(poutine.mask"):
        pv.impute(pv.VAE(model, guide), data())
    with pytest.raises(CheckError, match=r"Nothing is missing .* With one: Got 1 missing value"):
        pv.impute(pv.VAE(model, guide), data().nan_to_num())


def test_latents_that_only_the_model_has_are_refused():
    """They would be drawn from their prior, not given what is known."""

    @pyro.infer.config_enumerate
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            c = pyro.sample("c", dist.Bernoulli(0.5))
            loc = (z + 10 * c)[..., None].expand(*c.shape[:-1], *x.shape)
            pyro.sample("x", dist.Normal(loc, 1.0).mask(~x.isnan()).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x.nan_to_num().mean(1), 1.0))

    with pytest.raises(CheckError, match="'c' of the model are summed out, and"):
        pv.impute(pv.VAE(model, guide), torch.tensor([[10.0, torch.nan], [0.0, 0.5]]))
