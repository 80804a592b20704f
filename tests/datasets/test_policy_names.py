"""Which policies combine, and what support comes out of each."""

import pytest
import torch

from ppl_vae.datasets import from_arrays
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
    assert x.dtype == torch.float32
    assert data.train.tensors[0].dtype == torch.uint8
    if support == "binary":
        assert set(x.unique().tolist()) <= {0.0, 1.0}
    if support == "unit":
        assert x.min() >= 0
        assert x.max() <= 1
    if support == "integers":
        torch.testing.assert_close(x, GREY.float())


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
        from_arrays(GREY.float(), binarization=binarization)
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
