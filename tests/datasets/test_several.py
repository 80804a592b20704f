"""Data of several structures: each datum once an epoch, in an order that any place of it is found again in."""

import itertools

import pytest
import torch

import ppl_vae as pv
from ppl_vae.datasets import Several, Split
from ppl_vae.errors import DataError


def some(unlabelled: int = 23, labelled: int = 7, *, binarization: str = "none") -> Several:
    x = torch.arange(unlabelled + labelled).reshape(-1, 1).repeat(1, 4) / 100
    y = torch.arange(unlabelled + labelled) % 3
    data = pv.datasets.from_arrays(x, labels=y, labelled=labelled, binarization=binarization)
    assert isinstance(data.train, Several)
    return data.train


@pytest.mark.parametrize("size", [1, 4, 7, 100])
@pytest.mark.parametrize("shuffle", [False, True])
def test_each_datum_comes_once(size: int, shuffle: bool) -> None:
    split = some()
    batches = list(split.batches(size, shuffle=shuffle, generator=torch.Generator().manual_seed(1)))
    assert len(batches) == split.num_batches(size)
    assert sorted(torch.cat([b[0][:, 0] for b in batches]).mul(100).round().tolist()) == list(range(30))
    some_labelled = [zip(b[0][:, 0], b[1], strict=True) for b in batches if len(b) == 2]
    labels = {round(float(x) * 100): int(y) for pairs in some_labelled for x, y in pairs}
    assert len(labels) == 7
    assert all(y == number % 3 for number, y in labels.items())


@pytest.mark.parametrize("binarization", ["none", "dynamic"])
def test_any_place_of_an_epoch_is_found_again(binarization: str) -> None:
    split = some(binarization=binarization)

    def batches(done: int) -> list[tuple[torch.Tensor, ...]]:
        return list(split.batches(4, shuffle=True, generator=torch.Generator().manual_seed(3), done=done))

    whole = batches(0)
    for done in range(len(whole) + 1):
        for found, expected in itertools.zip_longest(batches(done), whole[done:]):
            assert all(map(torch.equal, found, expected))


def test_batches_with_labels_are_spread_over_the_epoch() -> None:
    kinds = [len(batch) for batch in some(80, 20).batches(10)]
    assert kinds == [1, 1, 2, 1, 1, 1, 1, 2, 1, 1]


def test_labels_come_evenly_from_all_classes() -> None:
    """Of 5 and 95 data of two classes: 4 each of 8, and all 5 of the rarer one of 20."""
    x, y = torch.randn(100, 2), (torch.arange(100) >= 5).long()
    for number, rare in ((8, 4), (20, 5)):
        train = pv.datasets.from_arrays(x, labels=y, labelled=number).train
        assert isinstance(train, Several)
        assert train.parts[1].labels is not None
        assert train.parts[1].labels.bincount().tolist() == [rare, number - rare]
    made = [pv.datasets.from_arrays(x, labels=y, labelled=8, seed=s).train for s in (0, 0, 1)]
    chosen = [train.parts[1].indices.tolist() for train in made]
    assert chosen[0] == chosen[1] != chosen[2]


def test_slices_and_what_has_no_one_batch() -> None:
    split = some()
    assert isinstance(split[:5], Split)
    assert len(split[20:27].parts[0]) == 3
    assert len(split[25:].batch()) == 2
    with pytest.raises(DataError, match=r"23 of 1 tensors and 7 of 2 tensors.*data\.train\.parts"):
        split.batch()
    with pytest.raises(TypeError, match="parts"):
        iter(split)


@pytest.mark.parametrize(
    ("labelled", "said"),
    [
        (0, "at least one"),
        (30, "leaves none"),
        (1.5, "fraction"),
        (True, "number"),
        ("some", "number"),
        (-1, "fraction"),
    ],
)
def test_shares_that_are_none(labelled: object, said: str) -> None:
    with pytest.raises((DataError, pv.errors.ArgumentError), match=said):
        pv.datasets.from_arrays(torch.randn(30, 2), labels=torch.arange(30) % 2, labelled=labelled)


def test_it_takes_labels_and_not_all_of_them() -> None:
    with pytest.raises(DataError, match="without labels"):
        pv.datasets.from_arrays(torch.randn(30, 2), labelled=3)
    with pytest.raises(DataError, match="one of them"):
        pv.datasets.from_arrays(torch.randn(30, 2), labels=torch.arange(30), labelled=3, with_labels=True)
