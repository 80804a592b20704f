"""What compilers get instead is the same."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from torch.nn.functional import softplus as reference

from ppl_vae.compile.capture import record
from ppl_vae.compile.kernels.decompositions import decompositions, softplus


def test_within_2e_7_of_the_value_everywhere():
    x = torch.cat([torch.linspace(-80, 80, 200_001), torch.linspace(-1e-3, 1e-3, 1001)])
    exact = torch.logaddexp(x.double(), torch.zeros((), dtype=torch.float64))
    assert (softplus(x).double() / exact - 1).abs().max() < 2e-7


def test_infinities_and_nan():
    x = torch.tensor([-torch.inf, torch.inf, torch.nan])
    torch.testing.assert_close(softplus(x), torch.tensor([0.0, torch.inf, torch.nan]), equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operations_that_contain_it(dtype):
    torch.manual_seed(0)
    x, target, weight = 5 * torch.randn(64, dtype=dtype), torch.rand(64, dtype=dtype), torch.rand(64, dtype=dtype)

    def all_of_them(x):
        losses = [
            binary_cross_entropy_with_logits(x, target, reduction="none", **options)
            for options in ({}, {"weight": weight}, {"pos_weight": weight}, {"weight": weight, "pos_weight": weight})
        ]
        whole = binary_cross_entropy_with_logits(x, target)  # the mean is left alone
        return [reference(x), reference(x, beta=3, threshold=2), logsigmoid(x), whole, *losses]

    graph = record(all_of_them, (x,), decompositions())
    targets = [str(node.target) for node in graph.graph.nodes]
    assert sum("cross_entropy" in t or "softplus" in t or "log_sigmoid" in t for t in targets) == (
        1 if dtype == torch.float32 else 8
    )
    for expected, found in zip(all_of_them(x), graph(x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6 if dtype == torch.float32 else 0, atol=1e-6)


@pytest.mark.parametrize("shapes", [((64, 3), (64, 3)), ((5, 1), (3,)), ((2,), (2,))])
def test_normal_noise_is_the_same(shapes):
    mean, std = torch.randn(shapes[0]), torch.rand(shapes[1])
    graph = record(lambda mean, std: [torch.normal(mean, std)], (mean, std), decompositions())
    assert not [node for node in graph.graph.nodes if "normal" in str(node.target)]
    found = []
    for draw in (torch.normal, lambda mean, std: graph(mean, std)[0]):
        torch.manual_seed(0)
        found.append((draw(mean, std), torch.rand(1)))
    torch.testing.assert_close(found[0], found[1])
