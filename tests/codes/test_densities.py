"""Densities of vectors: EM against scikit-learn's own, a flow against the normal that made the vectors."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch.distributions import MultivariateNormal

from ppl_vae.codes.densities import climb, fit_flow, fit_mixture, mean_log_prob
from ppl_vae.errors import ArgumentError
from ppl_vae.nn import FullMixturePrior


def normals(n, seed=0):
    """Vectors far from the origin, of scales 0.03 and 20, correlated."""
    truth = MultivariateNormal(torch.tensor([5.0, -40.0]), torch.tensor([[1e-3, 0.3], [0.3, 400.0]]))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return truth, truth.sample((n,))


def two(n, seed=0):
    """Vectors in two clusters, which no normal fits."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.randint(2, (n, 1), generator=generator) * 2.0 - 1
    return 3 * side + 0.3 * torch.randn(n, 2, generator=generator)


def test_parameters_that_are_set_are_those_of_the_mixture():
    z = two(300)
    em = GaussianMixture(3, random_state=0).fit(z.double().numpy())
    module = FullMixturePrior(2, 3).double()
    tril = torch.linalg.cholesky(torch.from_numpy(em.covariances_))
    module.set(torch.from_numpy(em.weights_), torch.from_numpy(em.means_), tril)
    points = np.random.default_rng(0).normal(size=(50, 2))
    expected = torch.from_numpy(em.score_samples(points))
    torch.testing.assert_close(module().log_prob(torch.from_numpy(points)).detach(), expected, rtol=1e-6, atol=1e-6)


def test_one_normal_has_the_moments_of_the_vectors():
    _, z = normals(2000)
    prior = fit_mixture(z, z, 1, seed=0).module()
    torch.testing.assert_close(prior.mean.detach(), z.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prior.variance.detach(), z.var(0, correction=0), rtol=1e-4, atol=1e-5)


def test_the_number_of_components_is_that_of_the_best_held_out_density():
    fitted = fit_mixture(two(2000), two(2000, seed=1), None, seed=0)
    assert fitted.arguments["components"] == 2
    assert fitted.held_out == max(fitted.tried.values()) == fitted.tried["2 components"]
    assert list(fitted.tried) == ["1 components", "2 components", "4 components"]  # the last one was no better


def test_components_without_vectors_are_refused():
    with pytest.raises(ArgumentError, match="components=9 for 5 codes"):
        fit_mixture(two(5), two(5), 9, seed=0)


def test_a_flow_reaches_the_density_that_made_the_vectors():
    # 5000 held-out vectors: their mean log density has a standard error of √(1 / 5000) = 0.014 nats (the variance
    # of log p of a normal is dim / 2), which is the same in both; 0.03 is what the fit may lose.
    truth, z = normals(4000)
    _, held_out = normals(5000, seed=1)
    fitted = fit_flow(z, held_out, epochs=60, seed=0)
    assert fitted.held_out == pytest.approx(float(truth.log_prob(held_out).mean()), abs=0.03)
    assert mean_log_prob(fitted.module, held_out) == pytest.approx(fitted.held_out)  # the best weights are there


def test_the_weights_that_are_kept_are_the_best_on_held_out_vectors():
    z = two(40)
    module = FullMixturePrior(2, 30)
    fitted = climb(module, {}, z, two(2000, seed=1), epochs=400, seed=0)
    assert fitted.held_out == max(fitted.tried.values())
    assert mean_log_prob(module, two(2000, seed=1)) == pytest.approx(fitted.held_out)


def test_fits_leave_random_numbers_as_they_were_and_are_repeatable():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second = (fit_flow(two(200), two(200, 1), epochs=3, seed=5).held_out for _ in range(2))
    fit_mixture(two(200), two(200, 1), None, seed=5)
    assert first == second
    assert torch.equal(before, torch.get_rng_state())


def test_vectors_that_do_not_vary_have_a_density_all_the_same():
    z = torch.cat([two(200), torch.full((200, 1), 7.0)], 1)
    for fitted in (fit_mixture(z, z, None, seed=0), fit_flow(z, z, epochs=2, seed=0)):
        assert np.isfinite(fitted.held_out)
