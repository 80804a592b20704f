import math

import pytest
import torch

from ppl_vae.datasets import from_arrays
from ppl_vae.datasets.policies import DynamicBinarization, static_binarization, threshold_binarization


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
