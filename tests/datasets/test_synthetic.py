import json
import math

import pytest
import torch

from ppl_vae.datasets import Bars, LinearGaussian, bars, ppca
from ppl_vae.errors import DataError
from tests import oracles


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_evidence_sums_to_one(noise):
    pictures = ((torch.arange(2**9)[:, None] >> torch.arange(9)) & 1).reshape(-1, 1, 3, 3)
    evidence = Bars(3, 0.3, noise).log_evidence(pictures).exp()
    torch.testing.assert_close(evidence.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_evidence_of_what_cannot_be():
    picture = torch.eye(3)[None, None]
    assert Bars(3, 0.3, 0.0).log_evidence(picture).item() == -math.inf


def test_evidence_of_too_many_causes():
    with pytest.raises(DataError, match="at most 8"):
        Bars(9, 0.3, 0.1).log_evidence(torch.zeros(1, 1, 9, 9))


def test_pictures_are_their_bars():
    data = bars(noise=0, size=4)
    for split in data.splits.values():
        assert torch.equal(data.truth.render(split.factors), split.tensors[0])
    assert data.spec.factor_names[:2] == ("row 0", "row 1")
    assert set(data.spec.factor_sizes) == {2}
    assert data.spec.support == "binary"


def test_pixels_are_flipped_at_the_rate_said():
    """5,000 pictures of 16 pixels; within 4.5 standard errors, false alarms below 1e-5."""
    data = bars(noise=0.05, size=4, validation=0, test=0)
    flipped = (data.truth.render(data.train.factors) != data.train.tensors[0]).double()
    assert abs(flipped.mean() - 0.05) < 4.5 * (0.05 * 0.95 / flipped.numel()) ** 0.5


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"num_data": 0}, {"probability": 0}, {"probability": 1}, {"noise": -0.1}, {"noise": 1}]
)
def test_refuses(options):
    with pytest.raises(DataError, match="expected"):
        bars(**options)


def test_process_agrees_with_the_oracle():
    oracle = oracles.linear_gaussian()
    process = LinearGaussian(oracle.weight, oracle.bias, oracle.noise)
    torch.testing.assert_close(process.log_evidence(oracle.x), oracle.log_evidence(), rtol=1e-12, atol=0)
    mean, covariance = oracle.posterior()
    posterior = process.posterior(oracle.x)
    torch.testing.assert_close(posterior.mean, mean)
    torch.testing.assert_close(posterior.covariance_matrix, covariance.expand_as(posterior.covariance_matrix))


def test_data_come_from_the_process():
    """20,000 data; the mean log evidence, −entropy, within 4.5 standard errors, false alarms below 1e-5."""
    data = ppca(num_data=20_000, columns=4, dtype="float64", validation=0, test=0)
    values = data.truth.log_evidence(data.train.batch()[0])
    covariance = data.truth.weight @ data.truth.weight.mT + data.truth.noise**2 * torch.eye(4, dtype=torch.float64)
    expected = -torch.distributions.MultivariateNormal(data.truth.bias, covariance).entropy()
    assert abs(values.mean() - expected) < 4.5 * values.std() / len(values) ** 0.5


def test_provenance_rebuilds_the_process():
    data = ppca()
    saved = json.loads(json.dumps(data.provenance))["parameters"]
    assert torch.equal(torch.tensor(saved["weight"], dtype=torch.float64), data.truth.weight)
    assert saved["noise"] == data.truth.noise


def test_large_parameters_do_not_drown_the_provenance():
    data = ppca(columns=200, latent_dim=10, num_data=50)
    assert "parameters" not in data.provenance
    assert data.truth.weight.shape == (200, 10)


def test_is_seeded():
    assert torch.equal(ppca().train.tensors[0], ppca().train.tensors[0])
    assert not torch.equal(ppca().train.tensors[0], ppca(seed=1).train.tensors[0])


@pytest.mark.parametrize("options", [{"columns": 0}, {"latent_dim": 0}, {"num_data": 0}, {"noise": 0}, {"noise": -1}])
def test_refuses_impossible_components(options):
    with pytest.raises(DataError, match="expected"):
        ppca(**options)
