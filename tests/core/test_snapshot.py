"""Copies of state: of the same kinds, in memory of their own."""

from collections import OrderedDict

import torch
from torch import nn

from ppl_vae.core.snapshot import copied


def test_a_copy_of_a_state_dict_is_one_with_what_modules_read_there():
    module = nn.BatchNorm1d(3)  # asks for its version when it is loaded
    state = module.state_dict()
    made = copied({"weights": state, "epoch": 3})["weights"]
    assert type(made) is OrderedDict
    assert made._metadata == state._metadata
    module.weight.data.fill_(7.0)
    assert torch.equal(made["weight"], torch.ones(3))
