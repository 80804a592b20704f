import math

import torch

from ppl_vae.datasets import from_arrays
from ppl_vae.datasets.policies import UniformDequantization


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


def test_mean_is_the_expectation():
    assert UniformDequantization(4).mean(torch.tensor(3.0)) == 0.875
