"""New data: right distribution, right shapes, right refusals."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae.core import tiles
from ppl_vae.core.generate import generate
from ppl_vae.core.pair import VAE
from ppl_vae.errors import CheckError
from tests import oracles


@pytest.fixture
def oracle():
    return oracles.linear_gaussian()


def test_new_data_have_the_marginal_of_x(oracle):
    """40,000 draws: means and variances of five columns within 5 standard errors; false-alarm rate 6e-6."""
    x = generate(VAE(*oracle.pair()), 40_000, like=oracle.x, seed=0)
    variance = oracle.covariance.diagonal()
    assert x.shape == (40_000, 5)
    assert ((x.mean(0) - oracle.bias).abs() < 5 * (variance / 40_000).sqrt()).all()
    assert ((x.var(0) / variance - 1).abs() < 5 * (2 / 40_000) ** 0.5).all()


def test_means_have_no_noise(oracle):
    vae = VAE(*oracle.pair())
    x = generate(vae, 50_000, like=oracle.x, mean=True, seed=0)
    expected = oracle.weight @ oracle.weight.mT
    assert torch.allclose(x.T.cov(), expected, atol=0.15 * float(expected.max()))


def test_template_seeds_and_chunks(oracle, monkeypatch):
    vae = VAE(*oracle.pair())
    with pytest.raises(CheckError, match="like=batch"):
        generate(vae, 3)
    pv.prepare(vae, oracle.x)
    assert generate(vae, 3).shape == (3, 5)
    before = torch.get_rng_state()
    assert torch.equal(generate(vae, 3, seed=1), generate(vae, 3, seed=1))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(generate(vae, 3), generate(vae, 3))
    monkeypatch.setattr(tiles, "TILE", 2_000)
    many = generate(vae, 1_000, seed=1)
    assert len(many.unique(dim=0)) == 1_000
    with pytest.raises(ValueError, match="n=0"):
        generate(vae, 0)


def test_conditions_are_cycled():
    def model(x, c):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1e-3))
            pyro.sample("x", dist.Normal(z + c, 1e-3), obs=x)

    def guide(x, c):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x - c, 1.0))

    x = generate(VAE(model, guide), 5, like=(torch.zeros(3), torch.tensor([0.0, 10.0, 20.0])))
    assert x.round().tolist() == [0, 10, 20, 0, 10]


def test_several_observed_sites_give_a_dict():
    def model(x, y):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            pyro.sample("y", dist.Poisson(z.exp()), obs=y)

    def guide(x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x, 1.0))

    new = generate(VAE(model, guide), 7, like=(torch.zeros(2), torch.ones(2)))
    assert {name: tuple(v.shape) for name, v in new.items()} == {"x": (7,), "y": (7,)}


def test_improper_priors_and_joint_observations_are_refused():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.ImproperUniform(dist.constraints.real, (), ()))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Delta(x))

    with pytest.raises(CheckError, match="prior of 'z' is improper"):
        generate(VAE(model, guide), 3, like=torch.zeros(2))

    def joint(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0).expand(x.shape).to_event(1), obs=x)

    with pytest.raises(CheckError, match="plate"):
        generate(VAE(joint, lambda x: pyro.sample("z", dist.Normal(0.0, 1.0))), 3, like=torch.zeros(2))
