"""Streaming sums against the same numbers computed at once."""

import numpy as np
import pytest
import torch

from ppl_vae.core.evidence import (
    StreamingEvidence,
    fit_generalized_pareto,
    pareto_k,
    pareto_k_from_tail,
    smooth,
    tail_length,
)
from ppl_vae.inference_data import _arviz


def result(log_weights, chunks):
    stream = StreamingEvidence(len(log_weights))
    for chunk in log_weights.split(chunks):
        stream.update(chunk)
    return stream.result()


@pytest.mark.parametrize("chunks", [1, 7, [3, 290, 7], 300])
def test_chunking_does_not_matter(chunks):
    lw = 3 * torch.randn(300, 4, dtype=torch.float64) - 900
    got = result(lw, chunks)
    w = (lw - lw.max(0).values).exp()
    log_evidence = w.mean(0).log() + lw.max(0).values
    torch.testing.assert_close(got.log_evidence, log_evidence)
    torch.testing.assert_close(got.log_evidence_se, w.std(0) / w.mean(0) / 300**0.5)
    torch.testing.assert_close(got.elbo, lw.mean(0))
    torch.testing.assert_close(got.elbo_se, lw.std(0) / 300**0.5)
    torch.testing.assert_close(got.ess, w.sum(0) ** 2 / w.square().sum(0))
    np.testing.assert_allclose(got.pareto_k, pareto_k(lw.numpy()), atol=1e-10)


def test_one_particle():
    got = result(torch.tensor([[-1.0, -2.0]]), 1)
    assert got.log_evidence.tolist() == got.elbo.tolist() == [-1.0, -2.0]
    assert got.log_evidence_se.isnan().all()
    assert got.pareto_k.isnan().all()


def test_missing_particles_are_noticed():
    stream = StreamingEvidence(10)
    stream.update(torch.zeros(3, 1))
    with pytest.raises(ValueError, match="Got 3 particles, expected 10"):
        stream.result()


def test_standard_error_is_calibrated():
    """log w ~ N(0, 0.5²): 400 estimates of 1,000 weights; their spread over the mean standard error is 1 within
    4/√(2·400) = 0.14, four standard errors of a standard deviation: false-alarm rate 6e-5."""
    lw = 0.5 * torch.randn(1_000, 400, dtype=torch.float64)
    got = result(lw, 250)
    assert float(got.log_evidence.std() / got.log_evidence_se.mean()) == pytest.approx(1.0, abs=0.14)
    assert float(got.log_evidence.mean()) == pytest.approx(0.125, abs=0.005)


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_known_tail(shape):
    """Mean k̂ of 100 samples of 5,000 weights with a Pareto tail: standard error 0.009, tolerance 0.06 leaves room for
    the shrinkage towards 0.5. False-alarm rate below 1e-4; the wrong sign is off by more than 1."""
    log_weights = np.log1p(np.random.default_rng(1).pareto(1 / shape, size=(5_000, 100)))
    assert pareto_k(log_weights).mean() == pytest.approx(shape, abs=0.06)


@pytest.mark.parametrize("scale", [0.05, 0.5, 2.0])
def test_as_arviz(scale):
    log_weights = scale * np.random.default_rng(2).normal(size=(1_000, 20))
    tolerance = 1e-9 if _arviz.GENERATION == 0 else 0.06  # the generations differ in the second digit
    np.testing.assert_allclose(pareto_k(log_weights), _arviz.psis(log_weights)[1], atol=tolerance)


def test_constants_and_order_do_not_matter():
    rng = np.random.default_rng(3)
    log_weights = rng.normal(size=(500, 4))
    k = pareto_k(log_weights)
    np.testing.assert_allclose(pareto_k(rng.permutation(log_weights) - 800.0), k, atol=1e-9)
    size = tail_length(500) + 1
    np.testing.assert_allclose(pareto_k_from_tail(np.sort(log_weights, axis=0)[-size:]), k, atol=1e-12)


def test_corners():
    assert pareto_k(np.zeros((1_000, 1)))[0] == 0.0  # constant weights: an exact guide
    assert pareto_k(1e-9 * np.random.default_rng(0).normal(size=(1_000, 1)))[0] == 0.0
    assert np.isnan(pareto_k(np.zeros((10, 1)))[0])  # too few
    assert np.isnan(pareto_k(np.full((1_000, 1), np.nan))[0])
    one = np.full((1_000, 1), -2_000.0)
    one[0] = 0.0
    assert pareto_k(one)[0] == np.inf  # one particle has all the weight
    assert np.isnan(pareto_k(np.full((1_000, 1), -np.inf))[0])


def test_bounded_tail_has_a_negative_shape():
    k, sigma = fit_generalized_pareto(np.random.default_rng(0).uniform(size=2_000))
    assert k == pytest.approx(-1.0, abs=0.1)
    assert sigma == pytest.approx(1.0, abs=0.1)


def test_smoothed_weights_agree_with_arviz():
    """Both fit the same tail; ArviZ 0.23 and 1 differ in the third digit, hence the tolerance."""
    log_w = np.random.default_rng(3).normal(scale=1.5, size=(2_000, 4))
    theirs, _ = _arviz.psis(log_w)
    theirs = theirs - np.logaddexp.reduce(theirs, axis=0)
    np.testing.assert_allclose(smooth(log_w), theirs, atol=0.02)


def test_smoothing_helps_a_heavy_tail():
    """Mean of x² under N(0, 1) by draws of N(0, 0.75²): over 200 seeds the smoothed estimate has the smaller error."""
    rng = np.random.default_rng(0)
    x = 0.75 * rng.normal(size=(500, 200))
    log_w = -0.5 * x**2 + 0.5 * (x / 0.75) ** 2
    plain = np.exp(log_w - np.logaddexp.reduce(log_w, axis=0))
    errors = [np.sqrt((((w * x**2).sum(0) - 1) ** 2).mean()) for w in (plain, np.exp(smooth(log_w)))]
    assert errors[1] < errors[0]
