"""Streaming sums against the same numbers computed at once."""

import numpy as np
import pytest
import torch

from ppl_vae.core.evidence import StreamingEvidence, pareto_k


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
    with pytest.raises(ValueError, match="Expected 10 particles, got 3"):
        stream.result()


def test_standard_error_is_calibrated():
    """log w ~ N(0, 0.5²): 400 estimates of 1,000 weights; their spread over the mean standard error is 1 within
    4/√(2·400) = 0.14, four standard errors of a standard deviation: false-alarm rate 6e-5."""
    lw = 0.5 * torch.randn(1_000, 400, dtype=torch.float64)
    got = result(lw, 250)
    assert float(got.log_evidence.std() / got.log_evidence_se.mean()) == pytest.approx(1.0, abs=0.14)
    assert float(got.log_evidence.mean()) == pytest.approx(0.125, abs=0.005)
