"""`posterior`: draws against closed forms, groups as ArviZ wants them, and ArviZ itself on them."""

import matplotlib as mpl
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import nn

from ppl_vae.core import tiles
from ppl_vae.core.evidence import pareto_k
from ppl_vae.core.pair import VAE
from ppl_vae.datasets.split import Split
from ppl_vae.errors import CheckError, DataError
from ppl_vae.inference_data import _arviz
from ppl_vae.inference_data.draw import posterior
from ppl_vae.inference_data.groups import load, save
from tests import oracles

GROUPS = {
    "posterior",
    "prior",
    "posterior_predictive",
    "prior_predictive",
    "log_likelihood",
    "sample_stats",
    "observed_data",
    "constant_data",
}


@pytest.fixture
def oracle():
    return oracles.linear_gaussian(num_data=7)


@pytest.fixture
def drawn(oracle):
    split = Split((oracle.x,), labels=torch.arange(7) % 3)[2:]
    split = split.__class__(split.tensors, split.labels, transform=_keep64(split), indices=split.indices)
    return _arviz.to_tree(posterior(VAE(*oracle.pair(diagonal=True)), split, draws=800, chains=2, seed=4))


def _keep64(split):
    return type(split.transform)(dtype=torch.float64)


def test_groups_dimensions_and_coordinates(drawn):
    assert set(drawn.children) == GROUPS
    z = drawn["posterior"]["z"]
    assert z.dims == ("chain", "draw", "datum", "z_dim")
    assert z.shape == (2, 800, 5, 2)
    assert z["datum"].values.tolist() == [2, 3, 4, 5, 6]
    assert drawn["prior"]["z"].dims == z.dims
    assert drawn["posterior_predictive"]["x"].dims == ("chain", "draw", "datum", "feature")
    assert drawn["log_likelihood"]["x"].dims == ("chain", "draw", "datum")
    assert drawn["sample_stats"]["log_weight"].dims == ("chain", "draw", "datum")
    assert drawn["sample_stats"]["pareto_k"].dims == ("datum",)
    assert drawn["observed_data"]["x"].dims == ("datum", "feature")
    assert drawn["constant_data"]["label"].values.tolist() == [2, 0, 1, 2, 0]
    assert drawn.attrs["seed"] == 4


def test_draws_have_the_exact_moments(drawn, oracle):
    """Means of 1,600 draws within 5 standard errors of 20 numbers: false-alarm rate 1e-5."""
    mean, covariance = oracle.posterior(oracle.x[2:])
    z = drawn["posterior"]["z"]
    se = covariance.diagonal().sqrt().numpy() / 40
    assert (np.abs(z.mean(("chain", "draw")) - mean.numpy()) < 5 * se).all()
    prior = drawn["prior"]["z"]
    assert (np.abs(prior.mean(("chain", "draw"))) < 5 / 40).all()
    x = drawn["prior_predictive"]["x"]
    spread = oracle.covariance.diagonal().sqrt().numpy()
    assert (np.abs(x.mean(("chain", "draw")) - oracle.bias.numpy()) < 5 * spread / 40).all()
    assert np.allclose(x.std(("chain", "draw")), spread, rtol=0.1)


def test_densities_belong_to_the_draws(drawn, oracle):
    z = torch.from_numpy(drawn["posterior"]["z"].values)
    x = oracle.x[2:]
    log_likelihood = dist.Normal(z @ oracle.weight.mT + oracle.bias, oracle.noise).to_event(1).log_prob(x)
    np.testing.assert_allclose(drawn["log_likelihood"]["x"], log_likelihood, atol=1e-9)
    guide = oracle.guide(diagonal=True)
    q = dist.Normal(guide.mean(x), guide.log_diagonal.exp()).to_event(1).log_prob(z)
    p = dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1).log_prob(z) + log_likelihood
    weight = drawn["sample_stats"]["log_weight"]
    np.testing.assert_allclose(weight, (p - q).detach(), atol=1e-9)
    flat = weight.values.reshape(1600, 5)
    np.testing.assert_allclose(drawn["sample_stats"]["pareto_k"], pareto_k(flat), atol=1e-9)


def test_predictive_draws_follow_the_latent_draws(drawn, oracle):
    """x − E[x | z] is noise of the known size, draw by draw: 40,000 numbers, 5 standard errors."""
    z = drawn["posterior"]["z"].values
    noise = drawn["posterior_predictive"]["x"].values - (z @ oracle.weight.numpy().T + oracle.bias.numpy())
    assert noise.std() == pytest.approx(oracle.noise, rel=5 / (2 * 40_000) ** 0.5)


def test_file_round_trip(drawn, tmp_path):
    xr.testing.assert_identical(load(save(drawn, tmp_path / "posterior.nc")), drawn)


def test_same_seed_same_draws_and_no_trace(oracle):
    vae = VAE(*oracle.pair(diagonal=True)).train()
    before = torch.get_rng_state()
    first = _arviz.to_tree(posterior(vae, oracle.x, draws=10, seed=1))
    assert torch.equal(before, torch.get_rng_state())
    assert vae.training
    xr.testing.assert_identical(first, _arviz.to_tree(posterior(vae, oracle.x, draws=10, seed=1)))


def test_blocks_of_data_and_draws(oracle, monkeypatch):
    """In tiny tiles: everything has its size, and the exact guide's log-weights are the evidence of their own datum."""
    seen = []
    monkeypatch.setattr(tiles, "TILE", 500)
    tree = _arviz.to_tree(posterior(VAE(*oracle.pair()), oracle.x, draws=11, progress=lambda *a: seen.append(a)))
    assert len(seen) > 1
    assert seen[-1] == (7, 7)
    weight = tree["sample_stats"]["log_weight"].values[0]
    np.testing.assert_allclose(weight, oracle.log_evidence().expand(11, 7), atol=1e-8)
    assert tree["posterior_predictive"].sizes["draw"] <= 11


def test_predictive_draws_are_limited(oracle):
    vae = VAE(*oracle.pair())
    tree = _arviz.to_tree(posterior(vae, oracle.x, draws=20, predictive_draws=3))
    assert tree["posterior_predictive"].sizes["draw"] == tree["prior"].sizes["draw"] == 3
    assert tree["posterior"].sizes["draw"] == 20
    assert tree.attrs["predictive_draws"] == 3
    assert "prior" not in _arviz.to_tree(posterior(vae, oracle.x, draws=20, predictive_draws=0)).children


@pytest.mark.parametrize("draws", [10**9, 10**12])
def test_more_draws_than_memory_holds_are_refused_before_any_is_drawn(oracle, tmp_path, draws):
    path = tmp_path / "posterior.nc"
    for options in ({}, {"path": path}):
        with pytest.raises(DataError, match=rf"{draws:,} draws of . data.*fewer draws"):
            posterior(VAE(*oracle.pair()), oracle.x, draws=draws, **options)
    assert not path.exists()


def test_global_latents_are_one_draw_for_all_data(monkeypatch):
    oracle = oracles.normal_hierarchy()
    monkeypatch.setattr(tiles, "TILE", 2_000)
    tree = _arviz.to_tree(posterior(VAE(oracle.model, oracle.guide()), oracle.x, draws=400))
    w = tree["posterior"]["w"]
    assert w.dims == ("chain", "draw")
    loc, scale = oracle.posterior_w()
    assert abs(float(w.mean()) - float(loc)) < 5 * float(scale) / 20
    # z_i − E[z_i | w] has no memory of w where each z was drawn with this w: 400 draws, 5 standard errors.
    mean, _ = oracle.posterior_z(torch.from_numpy(w.values[0])[:, None], oracle.x)
    rest = tree["posterior"]["z"].values[0] - mean.numpy()
    correlation = [np.corrcoef(w.values[0], rest[:, i])[0, 1] for i in range(rest.shape[1])]
    assert np.abs(correlation).max() < 5 / 20


def test_psis_moves_draws_to_the_posterior(oracle):
    """A guide that is 1.3 times too wide and off by half a deviation; resampled moments are those of the posterior.

    4,000 draws of k̂ < 0.7, effective number above 1,000: five standard errors are 0.16 deviations; false-alarm
    rate 1e-5 for 14 numbers.
    """
    guide = oracle.guide(diagonal=True)
    mean, covariance = oracle.posterior()
    deviation = covariance.diagonal().sqrt()
    with torch.no_grad():
        guide.log_diagonal += np.log(1.3)
        guide.offset += 0.5 * deviation
    vae = VAE(oracle.model(), guide)
    moved = _arviz.to_tree(posterior(vae, oracle.x, draws=4_000, resample="psis", predictive_draws=500))
    plain = _arviz.to_tree(posterior(vae, oracle.x, draws=4_000, predictive_draws=0))
    assert float(moved["sample_stats"]["pareto_k"].max()) < 0.7
    assert float(moved["sample_stats"]["ess"].min()) > 1_000

    def error(tree):
        z = tree["posterior"]["z"].values[0]
        return np.abs((z.mean(0) - mean.numpy()) / deviation.numpy()).max()

    assert error(plain) > 0.4
    assert error(moved) < 0.16
    assert np.allclose(moved["posterior"]["z"].values[0].std(0), deviation.numpy(), rtol=0.15)
    weight = moved["sample_stats"]["log_weight"].values[0]
    assert weight.mean() > plain["sample_stats"]["log_weight"].values.mean()
    hierarchy = oracles.normal_hierarchy()
    with pytest.raises(CheckError, match="resampled"):
        posterior(VAE(hierarchy.model, hierarchy.guide()), hierarchy.x, resample="psis")
    with pytest.raises(ValueError, match="resample"):
        posterior(vae, oracle.x, resample="pareto")


class Mixed(nn.Module):
    """A discrete latent, a positive one in a plate of its own, and a latent image."""

    def model(self, x):
        with pyro.plate("data", x.shape[0], dim=-1):
            c = pyro.sample("c", dist.Categorical(torch.ones(3)))
            s = pyro.sample("s", dist.Gamma(torch.ones(2, 2), 1.0).to_event(2))
            loc = c[..., None, None, None] + s.sum((-1, -2))[..., None, None, None]
            pyro.sample("x", dist.Bernoulli(logits=loc + torch.zeros(1, 3, 4)).to_event(3), obs=x)

    def guide(self, x):
        with pyro.plate("data", x.shape[0], dim=-1):
            pyro.sample("c", dist.Categorical(torch.ones(x.shape[0], 3)))
            pyro.sample("s", dist.Gamma(torch.ones(x.shape[0], 2, 2), 1.0).to_event(2))


@pytest.fixture
def mixed():
    pair = Mixed()
    x = torch.randint(2, (4, 1, 3, 4)).float()
    return _arviz.to_tree(posterior(VAE(pair.model, pair.guide), Split((x,)), draws=50)), x


def test_discrete_latents_images_and_unconstrained(mixed):
    tree, x = mixed
    assert tree["posterior"]["c"].dims == ("chain", "draw", "datum")
    assert tree["posterior"]["c"].dtype.kind == "i"
    assert tree["posterior"]["s"].dims == ("chain", "draw", "datum", "s_dim_0", "s_dim_1")
    np.testing.assert_allclose(np.exp(tree["unconstrained_posterior"]["s"]), tree["posterior"]["s"], rtol=1e-5)
    assert "c" not in tree["unconstrained_posterior"]
    assert tree["posterior_predictive"]["x"].dims[-3:] == ("channel", "height", "width")
    assert tree["posterior_predictive"]["x"].dtype == np.int8
    np.testing.assert_array_equal(tree["observed_data"]["x"], x)


def test_no_prior_of_a_deterministic_code():
    down, up = nn.Linear(3, 2), nn.Linear(2, 3)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.ImproperUniform(dist.constraints.real_vector, (), (2,)))
            pyro.sample("x", dist.Normal(up(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Delta(down(x), event_dim=1))

    tree = _arviz.to_tree(posterior(VAE(model, guide), torch.randn(4, 3), draws=5))
    assert "prior" not in tree.children
    assert "log_weight" not in tree.get("sample_stats", {})
    assert tree["posterior"]["z"].shape == (1, 5, 4, 2)


def test_joint_observation_is_refused():
    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0).expand(x.shape).to_event(1), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(x.mean(), 1.0))

    with pytest.raises(CheckError, match="plate"):
        posterior(VAE(model, guide), torch.randn(5))


@pytest.fixture
def az(monkeypatch):
    """ArviZ, with figures that are closed at the end."""
    with mpl.rc_context():
        import matplotlib.pyplot as plt

        yield _arviz.az
        plt.close("all")


@pytest.mark.filterwarnings("ignore")  # ArviZ's own, about its plots
def test_arviz_runs_on_it(drawn, mixed, az):
    data = _arviz.from_tree(drawn)
    table = _arviz.summary(data)
    assert len(table) == 5 * 2
    assert abs(table.loc["z[2, 0]", "mean"] - float(drawn["posterior"]["z"][:, :, 0, 0].mean())) < 0.06
    assert len(_arviz.summary(_arviz.from_tree(mixed[0]), var_names=["c"])) == 4
    az.plot_forest(data, var_names=["z"], coords={"datum": [2, 3]})
    az.plot_pair(data, var_names=["z"], coords={"datum": 2})
    if _arviz.GENERATION == 0:
        az.plot_trace(data, var_names=["z"], coords={"datum": [2]})
        az.plot_posterior(data, var_names=["z"], coords={"datum": [2]})
        az.plot_ppc(data, num_pp_samples=10)
        az.plot_ppc(data, group="prior", num_pp_samples=10)
    else:
        az.plot_trace_dist(data, var_names=["z"], coords={"datum": [2]})
        az.plot_dist(data, var_names=["z"], coords={"datum": [2]})
        az.plot_ppc_dist(data, num_samples=10)
    az.loo(data)
