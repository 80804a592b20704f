import numpy as np
import pytest
import torch
from torch.distributions import AffineTransform, Normal, TransformedDistribution

from ppl_vae.datasets import from_arrays
from ppl_vae.datasets.policies import Standardization
from ppl_vae.errors import DataError


def test_columns_of_the_training_data_get_mean_0_and_variance_1():
    x = torch.randn(300, 3, dtype=torch.float64) * torch.tensor([1.0, 10, 1e-3]) + torch.tensor([0.0, 5e3, -2])
    data = from_arrays(x, 0.2, 0.2, standardization="zscore")
    (z,) = data.train.batch()
    torch.testing.assert_close(z.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(data.spec.restore(data.test.batch()[0]), data.test.tensors[0])


def test_images_are_standardized_per_channel():
    x = torch.randint(0, 256, (50, 3, 4, 4), dtype=torch.uint8)
    data = from_arrays(x, standardization="zscore")
    (z,) = data.train.batch()
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3), correction=0), torch.ones(3))
    assert len(data.spec.location) == len(data.spec.scale) == 3


def test_a_large_mean_loses_no_digits():
    x = 1e6 + np.arange(8.0)[:, None]
    (z,) = from_arrays(x, standardization="zscore", dtype="float64").train.batch()
    torch.testing.assert_close(z[:, 0], torch.from_numpy((x[:, 0] - x.mean()) / x.std()))


@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_seconds_since_1970_lose_no_digits_in_single_precision(kind):
    x = (1_700_000_000 + np.arange(8)[:, None]).astype(kind)
    (z,) = from_arrays(x, standardization="zscore").train.batch()
    assert z.dtype == torch.float32
    torch.testing.assert_close(z[:, 0], torch.tensor((x[:, 0] - x.mean()) / x.std()).float())


def test_density_shift_is_the_jacobian():
    scale, location = torch.tensor([2.0, 0.5]), torch.tensor([1.0, 0.0])
    step = Standardization(location, scale)
    z = torch.randn(2)
    base = Normal(torch.zeros(2), torch.ones(2))
    original = TransformedDistribution(base, AffineTransform(location, scale)).log_prob(location + scale * z).sum()
    torch.testing.assert_close(base.log_prob(z).sum() + step.log_density_shift((2,)), original)


def test_a_constant_column_is_refused_by_name():
    x = torch.stack([torch.arange(5.0), torch.full((5,), 3.0)], 1)
    with pytest.raises(DataError, match=r"'age'; the first is 3 throughout.*standardization='none'"):
        from_arrays(x, standardization="zscore", feature_names=["height", "age"])
