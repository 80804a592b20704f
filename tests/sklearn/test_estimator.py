"""`pv.sklearn.VAE` passes scikit-learn's own checks, and its numbers are those of `pv`'s functions."""

import pickle

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import ppl_vae as pv

SMALL = {"hidden": (8,), "epochs": 2, "num_particles": 4, "random_state": 0}
X = load_iris().data


class Model(nn.Module):
    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(4), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


class Guide(nn.Module):
    """The posterior, or as much wider as is said."""

    def __init__(self, wider=1.0):
        super().__init__()
        self.wider = wider

    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x / 2, self.wider * 0.5**0.5).to_event(1))


EXPECTED = {
    "check_methods_sample_order_invariance": "score_samples draws: the noise of a datum goes by its place",
    "check_methods_subset_invariance": "score_samples draws: the noise of a datum goes by its place",
}


@parametrize_with_checks([pv.sklearn.VAE(2, **SMALL)], expected_failed_checks=lambda estimator: EXPECTED)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_what_fails_there_is_the_noise_alone():
    """`transform` does not draw, and is invariant; `score_samples` is, as far as its own standard errors go.

    150 differences of independent estimates with 1000 particles of bounded weights, each over its standard error: none
    beyond 6, which 150 normal ones have once in 3 million runs.
    """
    vae = pv.sklearn.VAE(model=Model, guide=Guide(1.2), epochs=0, num_particles=1000, random_state=0).fit(X)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_allclose(vae.transform(X)[order], vae.transform(X[order]), atol=1e-6)
    found, moved = vae.score_samples(X)[order], vae.score_samples(X[order])
    x = torch.tensor(X, dtype=torch.float32)
    error = pv.evaluate(vae.vae_, x, 1000, seed=vae.seed_).table["nll_se"].to_numpy()[order]
    assert (found != moved).any()
    assert (np.abs(found - moved) < 6 * 2**0.5 * error).all()


def test_it_is_the_pairs_own_functions():
    vae = pv.sklearn.VAE(2, **SMALL).fit(X)
    x = torch.tensor(X, dtype=torch.float32)
    z = pv.encode(vae.vae_, x)["z"].loc
    assert np.array_equal(vae.transform(X), z.numpy())
    assert np.array_equal(vae.inverse_transform(z.numpy()), pv.decode(vae.vae_, z, seed=vae.seed_).numpy())
    assert vae.score(X) == pytest.approx(-pv.evaluate(vae.vae_, x, 4, seed=vae.seed_).summary["nll"], abs=1e-9)
    assert vae.score_samples(X).mean() == vae.score(X)
    assert vae.n_iter_ == len(vae.history_) == 2
    assert np.array_equal(vae.sample(3, random_state=1), vae.sample(3, random_state=1))


def test_the_score_is_the_log_density():
    """Of a pair whose guide is the posterior: log p(x) by one particle, here Σ log Normal(x; 0, √2)."""
    vae = pv.sklearn.VAE(model=Model, guide=Guide, epochs=0, num_particles=1).fit(X)
    exact = torch.distributions.Normal(0.0, 2**0.5).log_prob(torch.tensor(X)).sum(1)
    np.testing.assert_allclose(vae.score_samples(X), exact, rtol=1e-5)


def test_equal_seeds_give_equal_pairs_and_the_callers_noise_is_untouched():
    before = torch.get_rng_state()
    one, other, third = (pv.sklearn.VAE(2, **SMALL | {"random_state": s}).fit(X).transform(X) for s in (0, 0, 1))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, third)
    assert torch.equal(before, torch.get_rng_state())


def test_nothing_is_done_in_the_constructor():
    strange = object()
    vae = pv.sklearn.VAE(strange, hidden=strange, model=strange, epochs=strange)
    assert vae.get_params()["hidden"] is strange
    with pytest.raises(pv.errors.ArgumentError, match="expected a whole number"):
        vae.fit(X)
    with pytest.raises(NotFittedError):
        vae.transform(X)


def test_pipeline_search_and_clone():
    pipe = make_pipeline(StandardScaler(), pv.sklearn.VAE(likelihood="normal", **SMALL))
    search = GridSearchCV(
        pipe, {"vae__latent_dim": [1, 2], "vae__objective": [None, pv.objectives.IWAE(2)]}, cv=2, n_jobs=1
    ).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.transform(X).shape == (150, search.best_params_["vae__latent_dim"])
    assert search.best_estimator_[:-1].inverse_transform(X).shape == X.shape
    copied = clone(search.best_estimator_)
    assert copied.get_params()["vae__latent_dim"] == search.best_params_["vae__latent_dim"]
    with pytest.raises(NotFittedError):
        copied.transform(X)


@pytest.mark.slow
def test_folds_in_other_processes_score_the_same():
    vae = pv.sklearn.VAE(2, likelihood="normal", **SMALL)
    here, there = (cross_val_score(vae, X, cv=2, n_jobs=n) for n in (1, 2))
    assert np.array_equal(here, there)


def test_tables_with_names():
    frame = load_iris(as_frame=True).data
    vae = pv.sklearn.VAE(2, **SMALL).set_output(transform="pandas").fit(frame)
    codes = vae.transform(frame)
    assert isinstance(codes, pd.DataFrame)
    assert list(codes.columns) == list(vae.get_feature_names_out()) == ["z_0", "z_1"]
    assert vae.spec_.feature_names == tuple(vae.feature_names_in_) == tuple(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        vae.transform(frame[frame.columns[::-1]])


def test_a_pickle_is_the_same_estimator():
    vae = pv.sklearn.VAE(2, **SMALL).fit(X)
    again = pickle.loads(pickle.dumps(vae))
    assert np.array_equal(vae.transform(X), again.transform(X))
    assert vae.score(X) == again.score(X)


def test_missing_values():
    holes = np.random.default_rng(0).random(X.shape) < 0.2
    x = np.where(holes, np.nan, X)
    vae = pv.sklearn.VAE(2, likelihood="normal", **SMALL).fit(x)
    filled = vae.impute(x)
    assert np.isfinite(vae.score(x))
    assert np.isfinite(vae.transform(x)).all()
    np.testing.assert_array_equal(filled[~holes], X[~holes].astype("float32"))
    expected = pv.impute(vae.vae_, torch.tensor(x, dtype=torch.float32), num_particles=4, seed=vae.seed_).x
    assert np.array_equal(filled, expected.numpy())
    whole = pv.sklearn.VAE(2, likelihood="normal", **SMALL).fit(X)
    assert np.array_equal(whole.impute(X), X.astype("float32"))
    with pytest.raises(pv.errors.DataError, match="missing"):
        whole.transform(x)
    assert np.isfinite(whole.set_params(missing=True).fit(X).transform(x)).all()


def test_images_that_come_as_rows():
    digits = load_digits().data[:60]
    vae = pv.sklearn.VAE(
        2, model=pv.models.ConvVAE, shape=(1, 8, 8), support="integers", levels=17, **SMALL | {"epochs": 1}
    ).fit(digits)
    assert vae.spec_.shape == (1, 8, 8)
    assert vae.inverse_transform(vae.transform(digits)).shape == vae.sample(60).shape == digits.shape
    with pytest.raises(pv.errors.ArgumentError, match="64 features"):
        vae.set_params(shape=(1, 8, 9)).fit(digits)


def test_several_latents():
    vae = pv.sklearn.VAE((3, 2), model=pv.models.Hierarchical, guide=pv.guides.BottomUp, **SMALL | {"hidden": (8, 8)})
    codes = vae.fit(X).transform(X)
    found = pv.encode(vae.vae_, torch.tensor(X, dtype=torch.float32), num_particles=4, seed=vae.seed_)
    assert list(vae.get_feature_names_out()) == [f"{n}_{i}" for n, c in found.items() for i in range(c.loc.shape[1])]
    np.testing.assert_allclose(codes, torch.cat([c.loc for c in found.values()], 1).numpy())
    assert vae.inverse_transform(codes).shape == X.shape


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epochs": "3"}, "Got epochs='3'"),
        ({"likelihood": "gausian"}, "expected a class or one of"),
        ({"likelihood": "bernoulli"}, "Bernoulli is a density over binary data"),
        ({"early_stopping": 2}, "early_stopping=2 without validation data"),
        ({"device": "nonsense"}, "Got device='nonsense'"),
        ({"learning_rate": "fast"}, "Got learning_rate='fast'"),
        ({"validation_fraction": 2.5}, "2.5"),
    ],
)
def test_parameters_that_cannot_be(parameters, message):
    with pytest.raises(pv.errors.PplVaeError, match=message):
        pv.sklearn.VAE(2, **SMALL | parameters).fit(X)


def test_codes_that_do_not_fit():
    vae = pv.sklearn.VAE(2, **SMALL).fit(X)
    with pytest.raises(pv.errors.ArgumentError, match=r"expected \(data, 2\)"):
        vae.inverse_transform(np.zeros((3, 5)))


def test_a_pair_without_a_density_has_no_score():
    vae = pv.sklearn.VAE(2, model=pv.models.Autoencoder, guide=pv.guides.Deterministic, **SMALL).fit(X)
    with pytest.raises(pv.errors.CheckError, match="no score"):
        vae.score(X)


@pytest.mark.parametrize(
    ("model", "guide"),
    [(pv.models.GMVAE, pv.guides.MixtureAmortized), (pv.models.Discrete, pv.guides.DiscreteAmortized)],
)
def test_probabilities_of_categories_are_transformed_back(model, guide):
    vae = pv.sklearn.VAE(3, model=model, guide=guide, **SMALL | {"epochs": 1}).fit(X)
    assert vae.inverse_transform(vae.transform(X)).shape == X.shape
