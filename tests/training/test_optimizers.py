"""One optimizer over all trainable parameters."""

import functools

import pytest
import torch
from torch import nn

from ppl_vae.errors import PplVaeError
from ppl_vae.training.optimizers import build_optimizer, trainable
from tests.training.pairs import dataset, pair, quiet, weights


def test_fused_where_nobody_chose():
    parameters = trainable(pair())
    assert build_optimizer(torch.optim.Adam, parameters).param_groups[0]["fused"]
    assert build_optimizer(functools.partial(torch.optim.SGD, lr=0.1), parameters).param_groups[0]["fused"]
    for chosen in ({"fused": False}, {"foreach": True}, {"capturable": False}):
        optimizer = build_optimizer(functools.partial(torch.optim.Adam, **chosen), parameters)
        assert not optimizer.param_groups[0]["fused"]
    assert not build_optimizer(lambda ps: torch.optim.Adam(ps), parameters).param_groups[0]["fused"]
    assert "fused" not in build_optimizer(torch.optim.RAdam, parameters).param_groups[0]


def test_shared_parameters_once_and_frozen_ones_not():
    shared = nn.Linear(2, 2)
    one, two = nn.Sequential(shared, nn.Linear(2, 1)), nn.Sequential(shared)
    shared.bias.requires_grad_(False)
    assert list(trainable(one, two)) == ["0.weight", "1.weight", "1.bias"]


def test_groups_by_the_longest_prefix():
    vae = pair()
    groups = {"guide": {"lr": 0.1}, "guide.encoder.0": {"lr": 0.2}}
    optimizer = build_optimizer(functools.partial(torch.optim.Adam, lr=0.3), trainable(vae), groups)
    rate = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in vae.named_parameters():
        expected = 0.2 if name.startswith("guide.encoder.0.") else 0.1 if name.startswith("guide.") else 0.3
        assert rate[parameter] == expected


def test_a_group_can_be_held_still():
    vae = pair()
    before = weights(vae)
    quiet(vae, dataset(), epochs=1, groups={"model": {"lr": 0.0}})
    after = weights(vae)
    assert all(torch.equal(before[k], after[k]) == k.startswith("model") for k in before)


def test_an_unknown_prefix_names_the_known_ones():
    with pytest.raises(PplVaeError, match=r"'encoder'.*guide, guide\.encoder, model, model\.decoder"):
        build_optimizer(torch.optim.Adam, trainable(pair()), {"encoder": {"lr": 0.1}})


def test_parameters_of_an_objective_are_trained():
    from ppl_vae.objectives import ELBO

    class Scaled(ELBO):
        def __init__(self):
            super().__init__()
            self.offset = nn.Parameter(torch.zeros(()))

        def forward(self, vae, batch, total=None):
            bound = super().forward(vae, batch, total)
            return type(bound)(bound.value, bound.surrogate - (self.offset - 1) ** 2, bound.metrics)

    objective = Scaled()
    quiet(pair(), dataset(), objective, epochs=3)
    assert objective.offset != 0
