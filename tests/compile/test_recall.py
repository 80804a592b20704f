"""What was recorded before gives what recording anew gives; where it does not hold, it is recorded anew."""

import functools

import pytest
import torch

import ppl_vae as pv
from ppl_vae.compile import gradient, recall, stepper
from ppl_vae.compile.kind import Kind
from ppl_vae.core import tiles
from ppl_vae.diagnostics import tile_graph
from tests.training.pairs import Guide, dataset, identical, pair, rows, weights


@pytest.fixture(autouse=True)
def fresh():
    recall.forget()
    yield
    recall.forget()


@pytest.fixture
def counted(monkeypatch):
    """How often a step, and a tile, were recorded."""
    counts = {"steps": 0, "tiles": 0}

    def counting(module, name, key):
        record = getattr(module, name)

        def count(*args):
            counts[key] += 1
            return record(*args)

        monkeypatch.setattr(module, name, count)

    counting(gradient, "trace", "steps")
    counting(tile_graph, "recorded", "tiles")
    return counts


DATA = pv.datasets.from_arrays(torch.rand(60, 6).round().numpy(), support="binary", validation=10, test=0)


def ours(seed, hidden=8, activation="relu"):
    torch.manual_seed(seed)
    model = pv.models.VAE(DATA.spec, latent_dim=2, hidden=[hidden], activation=activation)
    return pv.VAE(model, pv.guides.Amortized(DATA.spec, model, hidden=[hidden], activation=activation))


fit = functools.partial(pv.fit, epochs=2, batch_size=16, progress=False, compile="export")


def test_a_second_run_of_a_kind_is_not_recorded_and_has_the_bits_of_one_that_is(counted):
    first = ours(0)
    fit(first, DATA, seed=0)
    recorded = counted["steps"]
    assert recorded == 2  # full batches, and the last one
    recalling, alone = ours(1), ours(1)
    history = fit(recalling, DATA, pv.objectives.ELBO(), seed=1)
    assert counted["steps"] == recorded
    assert history.compiled == "export: asked for"
    recall.forget()
    assert rows(fit(alone, DATA, pv.objectives.ELBO(), seed=1)) == rows(history)
    assert counted["steps"] == 2 * recorded
    assert identical(weights(alone), weights(recalling))


@pytest.mark.parametrize("change", [{"hidden": 4}, {"activation": "tanh"}], ids=["another size", "another class"])
def test_another_kind_is_recorded(counted, change):
    fit(ours(0), DATA)
    before = counted["steps"]
    fit(ours(0, **change), DATA)
    assert counted["steps"] == 2 * before


def test_evaluations_recall_too_and_say_the_same(counted, monkeypatch):
    monkeypatch.setattr(tiles, "TILE", 2_000)
    told, recorded = [], []
    for forgotten in (False, True):
        for seed in (0, 1):
            if forgotten:
                recall.forget()
            told.append(pv.evaluate(ours(seed), DATA.train, num_particles=200, seed=3))
            recorded.append(counted["tiles"])
    shapes = recorded[0]
    assert recorded == [shapes, shapes, 2 * shapes, 3 * shapes]
    assert told[1].how == told[3].how
    for one, other in ((told[0], told[2]), (told[1], told[3])):
        assert one.summary == other.summary
    assert told[0].summary["nll"] != told[1].summary["nll"]


def test_a_wrong_guess_costs_time_and_nothing_else(counted, monkeypatch):
    monkeypatch.setattr(stepper, "kind", lambda *parts: Kind("all alike", True))
    fit(ours(0), DATA)
    for change in ({"hidden": 4}, {"activation": "tanh"}):
        found, expected = ours(1, **change), ours(1, **change)
        history = fit(found, DATA, seed=1)
        assert history.compiled == "export: asked for"
        assert rows(fit(expected, DATA, seed=1, compile="off")) == rows(history)
        assert identical(weights(expected), weights(found))
    assert counted["steps"] == 6


def test_somebodys_own_code_is_recorded_each_time(counted):
    for _ in range(2):
        pv.fit(pair(), dataset("dynamic"), epochs=2, batch_size=25, progress=False, compile="export")
    assert counted["steps"] == 2
    assert not recall._recorded
    assert Guide.__module__.startswith("tests")


def test_tensors_that_are_no_inputs_are_no_others(counted):
    """A graph that holds a tensor of its program's own is not given to another program."""
    first, second = ours(0), ours(0)
    for vae in (first, second):
        vae.model.decoder.register_forward_hook(functools.partial(_shifted, torch.zeros(6)))
    fit(first, DATA)
    assert not recall._recorded
    fit(second, DATA)


def _shifted(by, module, args, out):
    return out + by


def test_the_memory_is_bounded(counted, monkeypatch):
    monkeypatch.setattr(recall, "MOST", 2)
    for hidden in (2, 3, 2, 4):  # one is used again, and is not the oldest
        fit(ours(0, hidden=hidden), DATA, epochs=1, batch_size=25)
    assert len(recall._recorded) == 2
    assert counted["steps"] == 3
    fit(ours(0, hidden=2), DATA, epochs=1, batch_size=25)
    assert counted["steps"] == 3
