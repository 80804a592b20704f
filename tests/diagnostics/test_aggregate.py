"""Information and aggregate posterior against closed forms."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.core.pair import VAE
from ppl_vae.diagnostics.aggregate import aggregate
from tests import oracles


def shifted(loc, scale):
    """z ~ N(0, 1), x unrelated; the guide gives N(loc, scale²) whatever x is."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(torch.tensor(loc), torch.tensor(scale)).to_event(1))

    return VAE(model, guide)


def test_an_exact_posterior():
    """I = −½ log s² per unit, and the aggregate is the prior. 1,500 data: 4 standard errors are below 0.1 nats."""
    oracle = oracles.linear_gaussian(orthogonal=True, num_data=1_500)
    table = aggregate(VAE(*oracle.pair(diagonal=True)), oracle.x)
    _, covariance = oracle.posterior()
    exact = -0.5 * covariance.diagonal().log()
    units = table[table["unit"] != "joint"]
    assert units["information"].tolist() == pytest.approx(exact.tolist(), abs=0.1)
    assert units["marginal_kl"].tolist() == pytest.approx([0.0, 0.0], abs=0.05)
    assert units["mean"].tolist() == pytest.approx([0.0, 0.0], abs=0.11)
    assert units["deviation"].tolist() == pytest.approx([1.0, 1.0], abs=0.08)
    joint = table[table["unit"] == "joint"].iloc[0]
    assert joint["kl"] == pytest.approx(joint["information"] + joint["marginal_kl"])
    assert joint["information"] == pytest.approx(float(exact.sum()), abs=0.25)  # biased downward: 1,500 pairs


def test_a_guide_that_ignores_the_data():
    """No information; KL(N(1, ½²) ‖ N(0, 1)) = 1 − ⅜ + log 2 − ¼ … in closed form, 2,000 draws."""
    table = aggregate(shifted([1.0, 0.0], [0.5, 1.0]), torch.randn(2_000))
    units = table[table["unit"] != "joint"]
    assert units["information"].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    exact = 0.5 * (0.25 + 1 - 1) + math.log(2)
    assert units["marginal_kl"].tolist() == pytest.approx([exact, 0.0], abs=0.1)


def test_information_is_at_most_log_n():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1e-3), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x, 1e-4))

    table = aggregate(VAE(model, guide), torch.linspace(-2, 2, 50))
    assert table["information"].tolist() == pytest.approx([math.log(50)] * 2, abs=1e-6)


def test_other_families_are_left_out():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            c = pyro.sample("c", dist.Categorical(torch.ones(3) / 3))
            pyro.sample("x", dist.Normal(1.0 * c, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("c", dist.Categorical(torch.ones(3) / 3))

    assert len(aggregate(VAE(model, guide), torch.randn(5))) == 0


def test_a_site_whose_prior_depends_on_another_has_no_one_prior():
    """Of a guide that gives the prior, z1 was said to tell of the datum what it shares with z2: KL 0 as 1 − 1."""

    def pair(x):
        with pyro.plate("data", x.shape[0]):
            z2 = pyro.sample("z2", dist.Normal(0.0, 1.0))
            pyro.sample("z1", dist.Normal(z2, 0.3))

    def joint(x):
        with pyro.plate("data", x.shape[0]):
            z2 = pyro.sample("z2", dist.Normal(0.0, 1.0))
            pyro.sample("z1", dist.Normal(z2, 0.3))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    table = aggregate(VAE(joint, pair), torch.randn(100))
    assert set(table["site"]) == {"z2"}
    assert table["information"].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
