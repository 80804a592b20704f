"""The order of an epoch by blocks: every datum once, the same rest from anywhere, as mixed as is said."""

import numpy as np
import pytest
import torch

from ppl_vae.datasets.order import BlockOrder


def some_order(rng):
    sizes = rng.integers(0, 6, int(rng.integers(1, 12)))
    bounds = torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]))
    return BlockOrder(bounds, int(rng.integers(1, 6)), bool(rng.random() < 0.3))


@pytest.mark.parametrize("seed", range(20))
def test_every_datum_comes_once_and_any_rest_is_the_same(seed):
    order = some_order(np.random.default_rng(seed))
    windows = list(order.windows(seed))
    every = [place for window in windows for place in window.tolist()]
    assert sorted(every) == list(range(int(order.bounds[-1])))
    for done in range(len(every) + 1):
        rest = [place for window in order.windows(seed, done) for place in window.tolist()]
        assert rest == every[done:]


@pytest.mark.parametrize("seed", range(10))
def test_a_window_holds_its_blocks_and_no_part_of_another(seed):
    order = some_order(np.random.default_rng(seed))
    filled = int((order.bounds.diff() > 0).sum())
    found = []
    for window in order.windows(seed):
        blocks = set((torch.searchsorted(order.bounds, window, right=True) - 1).tolist())
        assert len(blocks) <= order.window
        assert len(window) == sum(int(order.bounds[b + 1] - order.bounds[b]) for b in blocks)
        found.append(blocks)
    assert sum(map(len, found)) == filled
    if order.sequential:
        assert [b for blocks in found for b in sorted(blocks)] == sorted(b for blocks in found for b in blocks)


def test_seeds_give_other_orders():
    order = BlockOrder(torch.arange(0, 101, 10), 3)
    first = [torch.cat(list(order.windows(seed))).tolist() for seed in (0, 0, 1)]
    assert first[0] == first[1] != first[2]
    sizes = [window.tolist() for window in order.windows(0)]
    assert sizes[0] != sorted(sizes[0])


# 12 blocks of 10 sorted values, windows of 3 blocks, batches of 6, over 2000 epochs. The tolerances are 5 standard
# errors: a right order fails one of these tests with a chance below 1e-4 over all seeds, and never with these.
M, S, W, B, EPOCHS = 12, 10, 3, 6, 2000


@pytest.fixture(scope="module")
def first_batches():
    order = BlockOrder(torch.arange(0, M * S + 1, S), W)
    return torch.stack([next(order.windows(seed))[:B] for seed in range(EPOCHS)])


def test_each_datum_is_as_likely_as_another_to_come_first(first_batches):
    p = B / (M * S)
    often = torch.bincount(first_batches.flatten(), minlength=M * S) / EPOCHS
    assert float((often - p).abs().max()) < 5 * (p * (1 - p) / EPOCHS) ** 0.5


def test_the_mean_of_a_batch_varies_by_what_is_said(first_batches):
    x = torch.arange(float(M * S))  # sorted: the worst case
    variance, between = x.var(correction=0), x.reshape(M, S).mean(1).var(correction=0)
    v, n = between * (M - W) / (W * (M - 1)), W * S
    expected = v + (variance - v) * (n - B) / (B * (n - 1))
    found = x[first_batches].mean(1).var()
    assert abs(float(found / expected) - 1) < 5 * (2 / EPOCHS) ** 0.5  # of a variance of normal numbers
    full = variance * (M * S - B) / (B * (M * S - 1))
    assert float(expected / full) > 2  # the test could tell a full permutation from it
    assert float(expected - full) <= float(between) / W
