"""The linter at the start of training: once for pairs of packages' code that differ in their seeds, else each time."""

import pytest
import torch

import ppl_vae as pv
from ppl_vae.training import lint as linting
from tests.training.pairs import dataset, pair

DATA = pv.datasets.from_arrays(torch.rand(60, 6).round().numpy(), support="binary", validation=10, test=0)
BATCH = next(iter(DATA.train.batches(16)))


@pytest.fixture
def counted(monkeypatch):
    """The pairs that the linter has looked at."""
    from ppl_vae import linter

    seen, check = [], linter.check

    def count(vae, batch, **how):
        seen.append(vae)
        return check(vae, batch, **how)

    monkeypatch.setattr(linter, "check", count)
    monkeypatch.setattr(linting, "_passed", type(linting._passed)())
    return seen


def ours(seed, hidden=8):
    torch.manual_seed(seed)
    model = pv.models.VAE(DATA.spec, latent_dim=2, hidden=[hidden])
    return pv.VAE(model, pv.guides.Amortized(DATA.spec, model, hidden=[hidden]))


def test_pairs_that_differ_in_their_seeds_are_looked_at_once(counted):
    assert [linting.lint(ours(seed), BATCH, 50) for seed in range(3)] == [(), (), ()]
    assert len(counted) == 1


@pytest.mark.parametrize(
    "other",
    [
        lambda: (ours(1, hidden=4), BATCH, 50),
        lambda: (ours(1), tuple(1 - x for x in BATCH), 50),
        lambda: (ours(1), tuple(x[:8] for x in BATCH), 50),
        lambda: (ours(1), BATCH, 51),
    ],
    ids=["another size", "other data", "fewer data", "more data in all"],
)
def test_another_kind_or_batch_is_looked_at(counted, other):
    linting.lint(ours(0), BATCH, 50)
    linting.lint(*other())
    assert len(counted) == 2


def test_a_pair_of_ones_own_is_looked_at_each_time(counted):
    data = dataset()
    batch = next(iter(data.train.batches(16)))
    for _ in range(2):
        linting.lint(pair(), batch, len(data.train))
    assert len(counted) == 2


def test_a_pair_with_a_finding_tells_it_each_time(counted):
    told = []
    for seed in range(2):
        vae = ours(seed)
        vae.model.spare = torch.nn.Linear(2, 2)
        told.append([finding.kind for finding in linting.lint(vae, BATCH, 50)])
    assert told[0] == told[1] == ["no gradient"]
    assert len(counted) == 2
