"""Parts of one input, told of more."""

import torch
from torch import nn

from ppl_vae.nn.beside import Beside, Joined


class Sum(nn.Module):
    out_features = 1

    def forward(self, x):
        return x.sum(-1, keepdim=True)


def test_a_decoder_gets_all_inputs_side_by_side():
    assert Joined(nn.Identity())(torch.zeros(3, 2), torch.ones(3, 1)).tolist() == [[0, 0, 1]] * 3


def test_features_and_what_is_given_go_through_the_layers():
    torch.manual_seed(0)
    beside = Beside(Sum(), 2, hidden=[4])
    x, y = torch.randn(3, 5), torch.randn(3, 2)
    assert beside(x, y).shape == (3, beside.out_features) == (3, 4)
    assert torch.equal(beside(x, y), beside.net(torch.cat([x.sum(-1, keepdim=True), y], -1)))
