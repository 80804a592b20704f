"""Transformers: attention as torch has it, and what each shape gives."""

import pytest
import torch
import torch.nn.functional as F

from ppl_vae.datasets.spec import Spec
from ppl_vae.errors import PplVaeError
from ppl_vae.likelihoods import Normal
from ppl_vae.nn import TransformerDecoder, TransformerEncoder
from ppl_vae.nn.transformer import Block

SPECS = {"image": Spec((2, 4, 8), "real"), "sequence": Spec((4, 6), "real"), "vector": Spec((5,), "real")}


def test_a_block_is_torchs_layer():
    torch.manual_seed(0)
    block = Block(8, heads=2)
    theirs = torch.nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True
    )
    for theirs_part, part in [
        (theirs.norm1, block.first),
        (theirs.norm2, block.second),
        (theirs.self_attn.out_proj, block.back),
        (theirs.linear1, block.net[0]),
        (theirs.linear2, block.net[2]),
    ]:
        theirs_part.load_state_dict(part.state_dict())
    theirs.self_attn.in_proj_weight.data.copy_(block.to_all.weight)
    theirs.self_attn.in_proj_bias.data.copy_(block.to_all.bias)
    h = torch.randn(3, 5, 8)
    assert torch.allclose(block(h), theirs(h), atol=1e-5)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_leading_axes_and_shapes(spec):
    torch.manual_seed(0)
    encoder, likelihood = TransformerEncoder(spec, width=8, heads=2), Normal(spec)
    decoder = TransformerDecoder(spec, likelihood, 3, width=8, heads=2, layers=1)
    x, z = torch.randn(2, 5, *spec.shape), torch.randn(2, 5, 3)
    assert encoder(x).shape == (2, 5, encoder.out_features)
    assert torch.allclose(encoder(x)[1, 2], encoder(x[1, 2]), atol=1e-5)
    assert decoder(z).shape == (2, 5, likelihood.num_params, *spec.shape)
    assert torch.allclose(decoder(z)[1, 2], decoder(z[1, 2]), atol=1e-5)
    assert torch.equal(decoder(z[..., :1], z[..., 1:]), decoder(z))


def test_places_are_told_apart():
    encoder = TransformerEncoder(SPECS["vector"], width=8, heads=2)
    x = torch.randn(1, 5)
    assert not torch.allclose(encoder(x), encoder(x.flip(-1)), atol=1e-4)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(PplVaeError, match="heads: got 3, expected a number that divides width=8"):
        Block(8, heads=3)
