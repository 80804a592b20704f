import math

import pytest
import torch

from ppl_vae.datasets.transform import DynamicBinarization, Scaling, Standardization, Transform, keyed_uniform, uniform


def test_steps_run_in_order_and_the_result_is_cast():
    shift = Standardization(torch.tensor(0.5), torch.tensor(2.0))
    transform = Transform((Scaling(10), shift), torch.float64)
    x = torch.tensor([[0], [10]], dtype=torch.uint8)
    out = transform(x, torch.arange(2))
    assert out.dtype == torch.float64
    assert out.flatten().tolist() == [-0.25, 0.25]
    assert transform.mean(torch.tensor(5.0)).item() == 0


def test_no_steps_only_cast():
    x = torch.tensor([3], dtype=torch.uint8)
    assert Transform(dtype=torch.float64)(x, torch.arange(1)).dtype == torch.float64
    assert Transform()(x, torch.arange(1)) is x


def test_half_precision_keeps_the_noise_below_one():
    """10^6 draws: in half precision some noise would round to 1, and white pixels turn black."""
    x = torch.full((10_000, 100), 1.0)
    assert Transform((DynamicBinarization(1),), torch.float16)(x, torch.arange(10_000)).min() == 1


def test_seed_keys_the_noise():
    x, i = torch.full((4, 50), 0.5), torch.arange(4)
    a, b = (Transform((DynamicBinarization(1),), seed=seed)(x, i) for seed in (0, 1))
    assert not torch.equal(a, b)


def test_to_moves_statistics():
    transform = Transform((Scaling(2), Standardization(torch.zeros(1), torch.ones(1)))).to("meta")
    assert transform.steps[1].location.device.type == "meta"


def test_uniform_in_distribution():
    """100,000 draws: Kolmogorov-Smirnov at 1.95/√n and mean at 4.5 standard errors; false alarms below 2e-3."""
    u = keyed_uniform(torch.arange(1000), (100,), seed=3).double().flatten()
    n = len(u)
    grid = torch.arange(1, n + 1) / n
    assert (u.sort().values - grid).abs().max() < 1.95 / math.sqrt(n)
    assert abs(u.mean() - 0.5) < 4.5 * math.sqrt(1 / 12 / n)
    assert u.min() >= 0
    assert u.max() < 1


@pytest.mark.parametrize("other", ["neighbouring data", "neighbouring elements", "neighbouring seeds"])
def test_neighbours_are_uncorrelated(other):
    """20,000 pairs; correlation within 4.5 standard errors, false alarms below 1e-5."""
    u = keyed_uniform(torch.arange(200), (100,), seed=0).double() - 0.5
    shifted = {
        "neighbouring data": u.roll(1, 0),
        "neighbouring elements": u.roll(1, 1),
        "neighbouring seeds": keyed_uniform(torch.arange(200), (100,), seed=1).double() - 0.5,
    }[other]
    assert abs((u * shifted).mean() * 12) < 4.5 / math.sqrt(u.numel())


def test_depends_on_datum_element_and_seed_only():
    i = torch.tensor([5, 2**40, 0])
    assert torch.equal(keyed_uniform(i, (3,), 7)[1], keyed_uniform(i[1:2], (3,), 7)[0])
    assert not torch.equal(keyed_uniform(i, (3,), 7), keyed_uniform(i, (3,), -8))


def test_is_splitmix64_in_every_bit():
    """Against Python's own integers: evaluations of saved runs mean the same on all devices and in later versions."""

    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    for seed in (0, 1, -1, 2**64 - 1):
        keys = [mix((mix(seed % 2**64) + (i + 1) * golden) % 2**64) for i in range(3)]
        expected = [[(mix((key + (j + 1) * golden) % 2**64) >> 40) / 2**24 for j in range(4)] for key in keys]
        assert keyed_uniform(torch.arange(3), (4,), seed).tolist() == expected


def test_double_precision_has_53_bits():
    u = keyed_uniform(torch.arange(1000), (), 0, torch.float64)
    assert (u * 2**24 != (u * 2**24).round()).float().mean() > 0.99


def test_generator_is_the_only_source():
    generator = torch.Generator().manual_seed(0)
    a = uniform(torch.Size([3]), generator, torch.device("cpu"), torch.float32)
    assert torch.equal(a, torch.rand(3, generator=generator.manual_seed(0)))
