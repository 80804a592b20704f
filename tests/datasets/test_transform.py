import torch

from ppl_vae.datasets.policies import DynamicBinarization, Standardization
from ppl_vae.datasets.transform import Scaling, Transform


def test_steps_run_in_order_and_the_result_is_cast():
    shift = Standardization(torch.tensor(0.5), torch.tensor(2.0))
    transform = Transform((Scaling(10), shift), torch.float64)
    x = torch.tensor([[0], [10]], dtype=torch.uint8)
    out = transform(x, torch.arange(2))
    assert out.dtype == torch.float64
    assert out.flatten().tolist() == [-0.25, 0.25]
    assert transform.mean(torch.tensor(5.0)).item() == 0


def test_no_steps_only_cast():
    assert Transform()(torch.tensor([3], dtype=torch.uint8), torch.arange(1)).dtype == torch.float32


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
