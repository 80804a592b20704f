"""Recurrent encoders and decoders: a step after the other, whatever the axes before."""

import pytest
import torch

from ppl_vae.datasets.spec import Spec
from ppl_vae.likelihoods import Normal
from ppl_vae.nn import RecurrentDecoder, RecurrentEncoder

SPECS = {"image": Spec((2, 4, 3), "real"), "sequence": Spec((4, 6), "real"), "vector": Spec((5,), "real")}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_encoder_is_torchs_gru_over_rows(spec):
    torch.manual_seed(0)
    encoder = RecurrentEncoder(spec, width=7)
    gru = torch.nn.GRU(encoder.tokens.width, 7, batch_first=True)
    gru.load_state_dict({f"{name}_l0": value for name, value in encoder.cell.state_dict().items()})
    x = torch.randn(3, *spec.shape)
    rows = x.transpose(1, 2).flatten(2) if len(spec.shape) == 3 else x.reshape(3, spec.shape[0], -1)
    assert torch.allclose(encoder(x), gru(rows)[1][0], atol=1e-6)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_leading_axes_and_shapes(spec):
    encoder, likelihood = RecurrentEncoder(spec, width=7, hidden=[9]), Normal(spec)
    decoder = RecurrentDecoder(spec, likelihood, 3, width=8)
    x, z = torch.randn(2, 5, *spec.shape), torch.randn(2, 5, 3)
    assert encoder(x).shape == (2, 5, encoder.out_features) == (2, 5, 9)
    assert torch.allclose(encoder(x)[1, 2], encoder(x[1, 2]), atol=1e-6)
    assert decoder(z).shape == (2, 5, likelihood.num_params, *spec.shape)
    assert torch.allclose(decoder(z)[1, 2], decoder(z[1, 2]), atol=1e-6)
    assert torch.equal(decoder(z[..., :1], z[..., 1:]), decoder(z))


def test_a_step_of_the_decoder_is_of_its_own_row():
    spec = SPECS["sequence"]
    decoder = RecurrentDecoder(spec, Normal(spec), 3)
    z = torch.randn(1, 3)
    states = []
    decoder.cell.register_forward_hook(lambda _, __, state: states.append(state))
    out = decoder(z)[0, 0] - decoder.bias[0]
    rows = torch.stack([decoder.out(state).unflatten(-1, (-1, 6))[0, 0] for state in states])
    assert torch.allclose(out, rows, atol=1e-6)


def test_it_begins_at_the_training_mean():
    mean = torch.linspace(-3, 3, 5)
    spec = Spec((5,), "real", mean=mean)
    decoder = RecurrentDecoder(spec, Normal(spec), 2)
    assert torch.allclose(decoder.bias[0], mean)
