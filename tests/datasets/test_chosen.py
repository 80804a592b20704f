"""Numbers of rows in little memory: alike a list of them, whatever is chosen of what."""

import numpy as np
import pytest
import torch

from ppl_vae.datasets.chosen import Chosen


def made(rng):
    """Rows chosen in one of the ways, with the list that they are."""
    size = int(rng.integers(1, 30))
    without = np.flatnonzero(rng.random(size) < rng.choice([0.0, 0.3, 0.9]))
    rows = np.setdiff1d(np.arange(size), without)
    if rng.random() < 0.5:
        return Chosen.all_but(size, torch.from_numpy(without)), rows
    rows = rng.permutation(rows) if rng.random() < 0.5 else rows
    return Chosen.of(torch.from_numpy(rows)), rows


def index(rng, size):
    if rng.random() < 0.3 and size:
        return torch.from_numpy(rng.integers(0, size, int(rng.integers(0, 9))))
    bound = [None, *range(-size - 1, size + 2)]
    return slice(rng.choice(bound), rng.choice(bound), rng.choice([None, 1, 2]))


@pytest.mark.parametrize("seed", range(60))
def test_any_choice_of_a_choice_is_that_of_the_list(seed):
    rng = np.random.default_rng(seed)
    chosen, rows = made(rng)
    for _ in range(4):
        assert chosen.at(torch.arange(chosen.size)).tolist() == rows.tolist()
        assert chosen.ascending == bool((np.diff(rows) > 0).all())
        if chosen.ascending:
            every = np.arange(35)
            assert chosen.before(torch.from_numpy(every)).tolist() == np.searchsorted(rows, every).tolist()
        at = index(rng, len(rows))
        chosen, rows = chosen.part(at), rows[at if isinstance(at, slice) else at.numpy()]
    assert chosen.size == len(rows)


def test_memory_is_that_of_what_is_left_out():
    chosen = Chosen.all_but(10**12, torch.tensor([5, 10**11]))
    assert chosen.size == 10**12 - 2
    assert chosen.at(torch.tensor([4, 5, 10**11 - 1, 10**12 - 3])).tolist() == [4, 6, 10**11 + 1, 10**12 - 1]
    assert chosen.part(slice(10**11, None)).before(torch.tensor([10**12])).tolist() == [9 * 10**11 - 2]
