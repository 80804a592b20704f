"""Networks take any event shape and any leading axes."""

import pytest
import torch

from ppl_vae import likelihoods, nn
from ppl_vae.datasets.spec import Spec
from ppl_vae.errors import DataError
from ppl_vae.nn.conv import ConvDecoder, ConvEncoder
from ppl_vae.nn.features import Rescale
from ppl_vae.nn.mlp import ACTIVATIONS

SHAPES = [(1, 8, 8), (1, 28, 28), (1, 28, 20), (3, 32, 32), (2, 7, 5), (1, 1, 1), (1, 13, 1)]
LEADS = [(), (4,), (3, 4), (2, 3, 4)]


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("shape", [*SHAPES, (17,), ()])
def test_mlp_shapes(shape, lead):
    spec = Spec(shape=shape, support="binary")
    encoder = nn.Encoder(spec, hidden=[16])
    assert encoder(torch.zeros([*lead, *shape])).shape == (*lead, 16)
    decoder = nn.Decoder(spec, likelihoods.Bernoulli(spec), 3, hidden=[16])
    assert decoder(torch.zeros(*lead, 3)).shape == (*lead, 1, *shape)


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_conv_shapes(shape, lead, depth):
    spec = Spec(shape=shape, support="integers", levels=5)
    channels = [4, 6, 8][:depth]
    encoder = ConvEncoder(spec, channels=channels, hidden=[16])
    assert encoder(torch.zeros([*lead, *shape])).shape == (*lead, 16)
    decoder = ConvDecoder(spec, likelihoods.Categorical(spec), 3, channels=channels[::-1], hidden=[16])
    assert decoder(torch.zeros(*lead, 3)).shape == (*lead, 5, *shape)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("residual", [False, True])
def test_activations_and_residual_blocks(activation, residual):
    spec = Spec(shape=(1, 8, 8), support="binary")
    options = {"hidden": [16], "activation": activation, "residual": residual}
    h = ConvEncoder(spec, channels=[4, 8], **options)(torch.zeros(2, 1, 8, 8))
    assert ConvDecoder(spec, likelihoods.Bernoulli(spec), 16, channels=[8, 4], **options)(h).shape == (2, 1, 1, 8, 8)
    assert nn.MLP(3, 2, [8], activation)(torch.zeros(5, 3)).shape == (5, 2)


def test_leading_axes_do_not_mix():
    """Every datum is encoded and decoded as if it were alone."""
    spec = Spec(shape=(1, 7, 5), support="unit")
    encoder = ConvEncoder(spec, channels=[4], hidden=[8]).double()
    x = torch.rand(3, 4, 1, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(encoder(x)[1, 2], encoder(x[1, 2]))
    decoder = ConvDecoder(spec, likelihoods.ContinuousBernoulli(spec), 2, channels=[4], hidden=[8]).double()
    z = torch.randn(3, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(decoder(z)[1, 2], decoder(z[1, 2]))


@pytest.mark.parametrize("kind", [nn.Decoder, ConvDecoder])
def test_decoders_start_at_the_training_mean(kind):
    mean = torch.rand(1, 8, 8)
    spec = Spec(shape=(1, 8, 8), support="binary", mean=mean)
    decoder = kind(spec, likelihoods.Bernoulli(spec), 3)
    for p in decoder.parameters():
        if p.ndim > 1 and p.shape != (1, 1, 8, 8):
            torch.nn.init.zeros_(p)
    if kind is ConvDecoder:
        torch.nn.init.zeros_(decoder.conv[-1].bias)
        for layer in (m for m in decoder.modules() if hasattr(m, "weight") and m.bias is not None):
            torch.nn.init.zeros_(layer.bias)
    torch.testing.assert_close(decoder(torch.randn(2, 3))[0, 0].sigmoid(), mean.clamp(1e-3, 1 - 1e-3))


def test_a_table_has_no_convolution():
    with pytest.raises(DataError, match=r"\(17,\).*model=vae guide=amortized"):
        ConvEncoder(Spec(shape=(17,), support="real"))


@pytest.mark.parametrize(
    ("support", "x", "expected"),
    [("integers", 16, 1.0), ("counts", 0, 0.0), ("real", -3.0, -3.0), ("unit", 0.25, 0.25)],
)
def test_data_enter_networks_at_order_one(support, x, expected):
    rescale = Rescale(Spec(shape=(), support=support, levels=17 if support == "integers" else None))
    assert rescale(torch.tensor(x)).item() == expected


def test_join_broadcasts_enumerated_values():
    x, y = torch.randn(128, 3), torch.eye(10).reshape(10, 1, 1, 10)
    joined = nn.join(x, y)
    assert joined.shape == (10, 1, 128, 13)
    torch.testing.assert_close(joined[7, 0, 5], torch.cat([x[5], torch.eye(10)[7]]))


def test_dtype_follows():
    spec = Spec(shape=(4,), support="integers", levels=9)
    assert nn.Encoder(spec).double()(torch.randint(9, (5, 4))).dtype == torch.float64
