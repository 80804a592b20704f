"""Which policies combine, and what support comes out of each."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import AffineTransform, Normal, TransformedDistribution

from ppl_vae.datasets import from_arrays
from ppl_vae.datasets.preparation import static_binarization, threshold_binarization
from ppl_vae.datasets.transform import DynamicBinarization, Standardization, UniformDequantization
from ppl_vae.errors import DataError

GREY = torch.arange(240, dtype=torch.uint8).reshape(20, 1, 3, 4)


@pytest.mark.parametrize(
    ("policies", "support", "levels"),
    [
        ({}, "unit", None),
        ({"scaling": "none"}, "integers", 256),
        ({"binarization": "static"}, "binary", None),
        ({"binarization": "dynamic"}, "binary", None),
        ({"binarization": "threshold"}, "binary", None),
        ({"dequantization": "uniform"}, "unit", None),
        ({"standardization": "zscore"}, "real", None),
        ({"dequantization": "uniform", "standardization": "zscore"}, "real", None),
    ],
    ids=str,
)
def test_support_follows_from_the_policies(policies, support, levels):
    data = from_arrays(GREY, **policies)
    assert (data.spec.support, data.spec.levels) == (support, levels)
    (x,) = data.train.batch()
    assert x.dtype == (torch.int64 if support == "integers" else torch.float32)
    assert data.train.tensors[0].dtype == torch.uint8
    if support == "binary":
        assert set(x.unique().tolist()) <= {0.0, 1.0}
    if support == "unit":
        assert x.min() >= 0
        assert x.max() <= 1
    if support == "integers":
        assert torch.equal(x, GREY.long())


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ({"binarization": "dynamicc"}, "expected one of none, static, dynamic, threshold"),
        ({"dequantization": "noise"}, "expected one of none, uniform"),
        ({"standardization": True}, "expected one of none, zscore"),
        ({"scaling": "255"}, "expected one of none, unit"),
        ({"binarization": "static", "standardization": "zscore"}, "neither dequantized nor standardized"),
        ({"binarization": "dynamic", "dequantization": "uniform"}, "neither dequantized nor standardized"),
    ],
    ids=str,
)
def test_refuses(policies, message):
    with pytest.raises(DataError, match=message):
        from_arrays(GREY, **policies)


@pytest.mark.parametrize("binarization", ["static", "dynamic", "threshold"])
def test_only_grey_levels_are_binarized(binarization):
    with pytest.raises(DataError, match=r"support is 'real', expected grey levels.*divide by the largest"):
        from_arrays(GREY + 0.5, binarization=binarization)
    with pytest.raises(DataError, match=r"support is 'counts'.*levels=256"):
        from_arrays(GREY.long(), binarization=binarization)


def test_only_integers_with_levels_are_dequantized():
    with pytest.raises(DataError, match="give levels=256"):
        from_arrays(GREY.float() / 255, dequantization="uniform")


def test_binary_data_are_binary_under_every_binarization():
    x = (torch.arange(12).reshape(4, 3) % 2).bool()
    for binarization in ("none", "static", "dynamic", "threshold"):
        data = from_arrays(x, binarization=binarization)
        assert torch.equal(data.train.batch()[0], x.float())
        assert data.spec.support == "binary"


@pytest.mark.parametrize("kind", ["static", "dynamic", "dynamic, evaluation"])
def test_a_pixel_is_on_with_its_grey_level(kind):
    """40,000 draws per level; within 4.5 standard errors for each of 5 levels, false alarms below 4e-5."""
    n, levels = 40_000, torch.tensor([0, 1, 100, 254, 255], dtype=torch.uint8)
    x = levels.expand(n, 5).contiguous()
    if kind == "static":
        on = static_binarization(x, torch.arange(n), 255, seed=0).double().mean(0)
    else:
        generator = None if kind.endswith("evaluation") else torch.Generator().manual_seed(0)
        on = from_arrays(x, binarization="dynamic").train.batch(generator=generator)[0].double().mean(0)
    p = levels.double() / 255
    assert ((on - p).abs() <= 4.5 * (p * (1 - p) / n).sqrt()).all()  # exactly 0 and 1 at the ends


def test_dynamic_draws_afresh_and_static_never_does():
    x = torch.full((10, 8), 0.5)
    generator = torch.Generator().manual_seed(0)
    dynamic = from_arrays(x, binarization="dynamic").train
    assert not torch.equal(dynamic.batch(generator=generator)[0], dynamic.batch(generator=generator)[0])
    static = from_arrays(x, binarization="static").train
    assert torch.equal(static.batch(generator=generator)[0], static.batch(generator=generator)[0])


def test_static_follows_the_seed_and_not_the_split():
    x = torch.rand(50, 8)
    whole = from_arrays(x, binarization="static", seed=3).train.batch()[0]
    parts = from_arrays(x, 10, 10, binarization="static", seed=3)
    for split in parts.splits.values():
        assert torch.equal(split.batch()[0], whole[split.indices])
    assert not torch.equal(from_arrays(x, binarization="static", seed=4).train.batch()[0], whole)


def test_threshold_is_at_half_of_white():
    grey = torch.tensor([0, 127, 128, 255], dtype=torch.uint8)
    assert threshold_binarization(grey, 255).tolist() == [0, 0, 1, 1]
    assert threshold_binarization(torch.tensor([0.49, 0.5]), 1).tolist() == [0, 1]


def test_mean_is_the_expectation():
    step = DynamicBinarization(255)
    x = torch.tensor([[51.0]])
    assert math.isclose(float(step.mean(x)), 0.2, rel_tol=1e-6)


def test_fills_the_gap_between_levels_evenly():
    """30,000 draws at level 3 of 4; mean within 4.5 standard errors, false alarms below 1e-5."""
    x = torch.full((30_000, 1), 3, dtype=torch.uint8)
    y = from_arrays(x, levels=4, dequantization="uniform").train.batch()[0].double()
    assert y.min() >= 0.75
    assert y.max() < 1
    assert abs(y.mean() - 0.875) < 4.5 * 0.25 / math.sqrt(12 * len(y))


def test_rounding_never_reaches_one():
    top = UniformDequantization(256)(torch.full((1,), 255), lambda x: torch.full(x.shape, 1 - 2.0**-24))
    assert top < 1


def test_levels_are_recovered():
    x = torch.randint(0, 17, (200, 4))
    y = from_arrays(x, levels=17, dequantization="uniform").train.batch()[0]
    assert torch.equal((y * 17).floor().long(), x)


def test_mean_of_dequantized_levels_is_the_expectation():
    assert UniformDequantization(4).mean(torch.tensor(3.0)) == 0.875


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
