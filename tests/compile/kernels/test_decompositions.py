"""What compilers get instead is the same."""

import math
import random

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, conv_transpose2d, logsigmoid
from torch.nn.functional import softplus as reference

from ppl_vae.compile.capture import record
from ppl_vae.compile.kernels.decompositions import FEW, decompositions, softplus
from tests.compile.test_stepper import by_compiler, inductor

aten = torch.ops.aten


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


def transposed(generator: random.Random) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, tuple[object, ...]]:
    """A transposed convolution of some size that torch takes, in one to three dimensions."""
    dimensions, inner, channels = generator.randint(1, 3), generator.randint(1, 5), generator.randint(1, 3)
    taps = [generator.randint(1, 5) for _ in range(dimensions)]
    stride = [generator.randint(1, 3) for _ in taps]
    padding = [generator.randint(0, tap - 1) for tap in taps]
    more = [generator.randint(0, s - 1) for s in stride]
    places = [generator.randint(tap, 7) for tap in taps]
    x, weight = torch.randn(generator.randint(1, 3), inner, *places), torch.randn(inner, channels, *taps)
    bias = torch.randn(channels) if generator.random() < 0.5 else None
    return x, weight, bias, (stride, padding, [1] * dimensions, True, more, 1)


@pytest.mark.parametrize("seed", range(100))
def test_transposed_convolutions_to_few_channels_are_products(seed):
    torch.manual_seed(seed)
    x, weight, bias, options = transposed(random.Random(seed))
    graph = record(lambda *tensors: [aten.convolution(*tensors, bias, *options)], (x, weight), decompositions())
    few = math.prod(weight.shape[1:]) <= FEW * math.prod(options[0])
    assert any("convolution" in str(node.target) for node in graph.graph.nodes) != few
    torch.testing.assert_close(graph(x, weight)[0], aten.convolution(x, weight, bias, *options), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "dilation", "groups"), [(torch.float64, 1, 1), (torch.float32, 2, 1), (torch.float32, 1, 2)]
)
def test_other_transposed_convolutions_are_left_alone(dtype, dilation, groups):
    x, weight = torch.randn(2, 4, 5, 5, dtype=dtype), torch.randn(4, 1, 3, 3, dtype=dtype)

    def transpose(x, weight):
        return [conv_transpose2d(x, weight, stride=2, dilation=dilation, groups=groups)]

    graph = record(transpose, (x, weight), decompositions())
    assert any("convolution" in str(node.target) for node in graph.graph.nodes)
    torch.testing.assert_close(graph(x, weight), transpose(x, weight), rtol=0, atol=0)


@pytest.mark.parametrize("made", [nn.Conv2d, nn.ConvTranspose2d, nn.Conv1d, nn.Conv3d])
@pytest.mark.parametrize("learns_x", [True, False])
def test_gradients_of_convolutions(made, learns_x):
    torch.manual_seed(0)
    layer = made(8, 12, 3, stride=2, padding=1)
    x = torch.randn(3, 8, *[9] * (layer.weight.ndim - 2))

    @torch.enable_grad()
    def gradients(*inputs):
        x, weight, bias = (t.detach().requires_grad_() for t in inputs)
        y = (aten.convolution(x, weight, bias, *options)).square().sum()
        return torch.autograd.grad(y, [x, weight, bias] if learns_x else [weight, bias])

    ones = [1] * (layer.weight.ndim - 2)
    options = [2 * o for o in ones], ones, ones, layer.transposed, [0 * o for o in ones], 1
    inputs = (x, layer.weight, layer.bias)
    graph = record(gradients, inputs, decompositions())
    backward = [node for node in graph.graph.nodes if "convolution_backward" in str(node.target)]
    assert len(backward) == 1
    if x.ndim == 4:
        told = backward[0].args[0].meta["val"]
        assert told.is_contiguous(memory_format=torch.channels_last) == learns_x
    for found, expected in zip(graph(*inputs), gradients(*inputs), strict=True):
        assert found.stride() == expected.stride()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@inductor
def test_compiled_steps_of_convolutions_agree(tmp_path, repository):
    by_compiler(
        tmp_path,
        repository,
        """
        def images(*shape):
            return pv.datasets.from_arrays(torch.rand(60, *shape, generator=torch.Generator().manual_seed(0)).round())
        for shape, residual in (((1, 11, 8), False), ((3, 8, 8), True)):
            data = images(*shape)
            def conv():
                torch.manual_seed(0)
                model = pv.models.ConvVAE(data.spec, latent_dim=3, channels=[8, 4], hidden=[8], residual=residual)
                return pv.VAE(model, pv.guides.ConvAmortized(data.spec, model, channels=[4, 8], hidden=[8]))
            adam = functools.partial(torch.optim.Adam, lr=0.01, eps=1e-3)
            run = functools.partial(quiet, data=data, optimizer=adam, batch_size=20)
            found = [run(conv(), compile=way) for way in ("off", "inductor")]
            assert found[1].compiled == "inductor: asked for", found[1].compiled
            torch.testing.assert_close(found[1]["train/bound"], found[0]["train/bound"], rtol=1e-4, atol=1e-6)
        """,
    )
