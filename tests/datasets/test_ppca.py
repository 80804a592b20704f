import json

import pytest
import torch

from ppl_vae.datasets import LinearGaussian, ppca
from ppl_vae.errors import DataError
from tests import oracles


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
def test_refuses(options):
    with pytest.raises(DataError, match="expected"):
        ppca(**options)
