import pytest
import torch

from ppl_vae.datasets.split import count, split_indices
from ppl_vae.errors import DataError


@pytest.mark.parametrize(
    ("share", "size", "expected"), [(0.1, 100, 10), (7, 100, 7), (0, 5, 0), (None, 5, 0), (0.0, 5, 0), (0.25, 10, 2)]
)
def test_count(share, size, expected):
    assert count(share, size, "test") == expected


@pytest.mark.parametrize(
    ("share", "size", "message"),
    [
        (0.01, 10, "comes to no datum: use validation=1 for one, or validation=0"),
        (10, 10, "leaves none"),
        (0.99, 10, "leaves none"),
        (1.0, 10, "fraction between 0 and 1"),
        (2.5, 10, "fraction between 0 and 1"),
        (-1, 10, "whole number"),
        (-0.5, 10, "whole number"),
        (True, 10, "fraction"),
        (float("nan"), 10, "fraction"),
        ("0.1", 10, "fraction"),
    ],
)
def test_count_refuses(share, size, message):
    with pytest.raises(DataError, match=message):
        count(share, size, "validation")


def test_every_datum_is_in_one_part_and_the_seed_decides():
    parts = split_indices(50, 0.1, 10, seed=4)
    assert [len(part) for part in parts] == [35, 5, 10]
    assert torch.cat(parts).sort().values.tolist() == list(range(50))
    assert all(torch.equal(a, b) for a, b in zip(parts, split_indices(50, 0.1, 10, seed=4), strict=True))
    assert not torch.equal(parts[1], split_indices(50, 0.1, 10, seed=5)[1])


def test_nothing_left_to_train_on():
    with pytest.raises(DataError, match="leaves none to train on"):
        split_indices(10, 5, 5, seed=0)
