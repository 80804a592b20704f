"""A recorded tile gives the bits of the programs; what cannot be recorded is run as it is."""

import functools

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.compile import cost
from ppl_vae.core import tiles
from ppl_vae.diagnostics import tile_graph as pieces


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 6))

    def forward(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            h = self.decoder(z.reshape(-1, 2)).reshape(*z.shape[:-1], 6)
            pyro.sample("x", dist.Bernoulli(logits=h).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 4)

    def forward(self, x):
        loc, raw = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))


class Forked(Guide):
    """Looks at a number to decide what to do."""

    def forward(self, x):
        super().forward(x * 2 if x.sum() > 12 else x)


class Drawing(Guide):
    """Takes noise from where no graph can see it."""

    def forward(self, x):
        super().forward(x + np.random.rand())  # noqa: NPY002


@pytest.mark.parametrize("guide", [Guide, Forked, Drawing])
def test_recorded_tiles_give_the_same_bits(guide, monkeypatch):
    monkeypatch.setattr(tiles, "TILE", 5_000)
    torch.manual_seed(0)
    vae = pv.VAE(Model(), guide())
    x = (torch.rand(7, 6) < 0.5).float()
    found = []
    for worthwhile in (10**9, 2):
        monkeypatch.setattr(cost, "CAPTURE_TILES", worthwhile)
        found.append(pv.evaluate(vae, x, 300))
    pd.testing.assert_frame_equal(found[0].table, found[1].table, check_exact=True)
    pd.testing.assert_frame_equal(found[0].units, found[1].units, check_exact=True)


def test_graphs_are_used():
    vae = pv.VAE(Model(), Guide())
    x = (torch.rand(7, 6) < 0.5).float()
    pv.prepare(vae, (x,), 5)
    vae.eval()
    measure = pieces.Measure(vae, functools.partial(pv.terms, vae, mode="draw"), tiles=100)
    with torch.no_grad(), pyro.validation_enabled(False):
        for _ in range(3):
            measure((x,), 5)
    assert [way is not None for way in measure._ways.values()] == [True]
    assert measure.how.startswith("its graph")


def test_what_pays_compiling_is_compiled_unless_it_cannot_be(monkeypatch):
    """And what has been compiled must give the same."""
    torch.manual_seed(0)
    vae = pv.VAE(Model(), Guide())
    x = (torch.rand(7, 6) < 0.5).float()
    monkeypatch.setattr(tiles, "TILE", 5_000)
    monkeypatch.setattr(pieces, "takes_onednn", lambda: False)
    expected = pv.evaluate(vae, x, 300)
    assert expected.how == "its graph"
    monkeypatch.setattr(cost, "compile_seconds", lambda graph: 0.0)
    for code, how in (
        (lambda graph, inputs: lambda *batch: [t + 1e-6 for t in graph(*batch)], "its graph, compiled"),
        (
            lambda graph, inputs: lambda *batch: [t + 1 for t in graph(*batch)],
            "its graph; compiled, log_weights differs from the eager one",
        ),
        (lambda graph, inputs: [][0], "its graph; it cannot be compiled (IndexError: list index out of range"),
    ):
        monkeypatch.setattr(pieces, "compiled", code)
        found = pv.evaluate(vae, x, 300)
        assert found.how.startswith(how)
        pd.testing.assert_frame_equal(expected.table, found.table, check_exact=False, rtol=1e-4, atol=1e-4)
