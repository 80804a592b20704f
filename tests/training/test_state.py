"""The state of a run is exactly what a checkpoint holds and restores."""

import copy
import dataclasses
import sys

import pytest
import torch

import ppl_vae as pv
from ppl_vae.runs import state as files
from ppl_vae.training.state import State
from tests.training.pairs import dataset, pair, weights


def test_a_field_is_a_key_of_a_checkpoint(tmp_path):
    pv.fit(pair(), dataset(), epochs=1, progress=False, directory=tmp_path)
    kept = files.load(tmp_path / "checkpoints" / "last.safetensors")
    assert {f.name for f in dataclasses.fields(State)} | {"version"} == set(kept)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_what_is_taken_is_put_back(optimizer, monkeypatch):
    """Steps that are taken back and taken again give the same bits, whatever they change."""
    found, loop = [], sys.modules["ppl_vae.training.loop"]
    take = loop.train_on

    def twice(training, batch):
        state = training.state
        before = copy.deepcopy(state.take())
        take(training, batch)
        found.append(copy.deepcopy(state.take()))
        state.put(copy.deepcopy(before), "memory")
        assert files.flatten(state.take())[1] == files.flatten(before)[1]
        take(training, batch)
        again = state.take()
        tensors, rest = files.flatten({k: v for k, v in again.items() if k != "spent"})
        expected, others = files.flatten({k: v for k, v in found[-1].items() if k != "spent"})
        assert rest == others
        assert all(torch.equal(tensors[name], expected[name]) for name in expected)

    monkeypatch.setattr(loop, "train_on", twice)
    vae, plain = pair(dropout=True), pair(dropout=True)
    options = {
        "epochs": 2,
        "batch_size": 16,
        "progress": False,
        "ema": 0.9,
        "scheduler": pv.training.schedulers.cosine(),
    }
    objective = pv.objectives.ELBO(beta=pv.schedules.linear(0.1, 1.0, over=5))
    pv.fit(vae, dataset("dynamic"), objective, lambda p: optimizer(p, lr=0.01), **options)
    assert len(found) == 8
    monkeypatch.undo()
    objective = pv.objectives.ELBO(beta=pv.schedules.linear(0.1, 1.0, over=5))
    pv.fit(plain, dataset("dynamic"), objective, lambda p: optimizer(p, lr=0.01), **options)
    assert all(map(torch.equal, weights(vae).values(), weights(plain).values()))
