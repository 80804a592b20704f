"""Pairs can be captured by torch.export with a batch of any length, and the graph gives the eager value."""

import pyro
import pytest
import torch
from pyro import poutine

from tests.models.test_pairs import PAIRS

CAPTURED = [
    *("vae", "conv", "hierarchical, top down", "hierarchical, ladder", "conv hierarchy"),
    *("hierarchical, derived", "gmvae, derived", "iaf", "gamma"),
]


class Evidence(torch.nn.Module):
    """One-sample log p(x, z) - log q(z | x), summed over data."""

    def __init__(self, model, guide):
        super().__init__()
        self.model, self.guide = model, guide

    def forward(self, *batch):
        q = poutine.trace(self.guide).get_trace(*batch)
        p = poutine.trace(poutine.replay(self.model, q)).get_trace(*batch)
        return p.log_prob_sum() - q.log_prob_sum()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch.export warns of its own internals
@pytest.mark.parametrize("name", CAPTURED)
def test_capture_with_a_dynamic_batch(name):
    model, guide, batch = PAIRS[name]()
    with pyro.validation_enabled(False):
        program = Evidence(model, guide)
        program(*batch)
        length = torch.export.Dim("length", min=2, max=4096)
        dynamic = (tuple({0: length} for _ in batch),)
        captured = torch.export.export(program, batch, dynamic_shapes=dynamic, strict=False).module()
        longer = tuple(torch.cat([t, t]) for t in batch)
        torch.manual_seed(0)
        eager = program(*longer)
        torch.manual_seed(0)
        torch.testing.assert_close(captured(*longer), eager)
