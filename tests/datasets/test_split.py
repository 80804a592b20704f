import numpy as np
import pytest
import torch

from ppl_vae.datasets import Split, digits, from_arrays
from ppl_vae.datasets.split import count, split_indices
from ppl_vae.errors import DataError


@pytest.fixture(scope="module")
def dynamic():
    return digits(binarization="dynamic").test


def test_batches_cover_every_datum_once_and_keep_the_last():
    split = Split((torch.arange(10),))
    sizes = [len(x) for (x,) in split.batches(4)]
    assert sizes == [4, 4, 2]
    shuffled = torch.cat([x for (x,) in split.batches(4, shuffle=True, generator=torch.Generator().manual_seed(1))])
    assert shuffled.tolist() != list(range(10))
    assert sorted(shuffled.tolist()) == list(range(10))


def test_shuffling_is_a_fresh_permutation_each_epoch_and_seeded():
    split = Split((torch.arange(20),))

    def epochs(seed):
        generator = torch.Generator().manual_seed(seed)
        return [
            torch.cat([x for (x,) in split.batches(8, shuffle=True, generator=generator)]).tolist() for _ in range(2)
        ]

    first, second = epochs(0)
    assert first != second
    assert epochs(0) == [first, second]


def test_other_tensors_and_labels_follow_x():
    x, y = torch.arange(6.0), torch.arange(6)
    split = Split((x, y), labels=y, factors=y[:, None])
    for a, b in split.batches(4, shuffle=True):
        assert torch.equal(a, b.float())
    part = split[torch.tensor([5, 0])]
    assert part.labels.tolist() == part.factors.flatten().tolist() == part.tensors[1].tolist() == [5, 0]


def test_evaluation_noise_belongs_to_the_datum(dynamic):
    (whole,) = dynamic.batch()
    torch.testing.assert_close(torch.cat([x for (x,) in dynamic.batches(7)]), whole, rtol=0, atol=0)
    torch.testing.assert_close(dynamic[50:60].batch()[0], whole[50:60], rtol=0, atol=0)
    torch.testing.assert_close(dynamic.batch(torch.tensor([9, 3]))[0], whole[[9, 3]], rtol=0, atol=0)


def test_training_noise_is_drawn_afresh(dynamic):
    generator = torch.Generator().manual_seed(0)
    (a,), (b,) = dynamic.batch(generator=generator), dynamic.batch(generator=generator)
    assert not torch.equal(a, b)
    (c,) = dynamic.batch(generator=generator.manual_seed(0))
    assert torch.equal(a, c)


def test_shuffling_without_generator_draws_noise_from_the_global_one(dynamic):
    def epoch(seed):
        torch.manual_seed(seed)
        return torch.cat([x for (x,) in dynamic.batches(100, shuffle=True)])

    assert torch.equal(epoch(0), epoch(0))
    order = torch.randperm(len(dynamic), generator=torch.Generator().manual_seed(0))
    assert not torch.equal(epoch(0), dynamic.batch(order)[0])


def test_evaluation_leaves_the_global_generator_alone(dynamic):
    before = torch.get_rng_state()
    dynamic.batch()
    list(dynamic.batches(50))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "index",
    [
        3,
        -1,
        np.int64(3),
        torch.tensor(3),
        slice(2, 4),
        [1, 2],
        [],
        np.array([4, 4]),
        torch.tensor([True] + [False] * 9),
    ],
    ids=str,
)
def test_every_index_gives_a_split(index):
    split = Split((torch.arange(10),))
    part = split[index]
    assert isinstance(part, Split)
    assert part.batch()[0].long().tolist() == part.indices.tolist() == part.tensors[0].tolist()


@pytest.mark.parametrize("index", [3, -4, [3], [-4], [0.0], [True], torch.ones(4, dtype=torch.bool)], ids=str)
def test_no_such_datum(index):
    with pytest.raises(IndexError):
        Split((torch.arange(3),))[index]


def test_is_not_iterated_datum_by_datum():
    with pytest.raises(TypeError, match=r"split\.batches"):
        list(Split((torch.arange(3),)))


@pytest.mark.parametrize("block", [1, 200, 10**9])
def test_gathering_many_batches_at_once_changes_none(monkeypatch, block):
    monkeypatch.setattr("ppl_vae.datasets.split.BLOCK", block)
    x = torch.rand(23, 4, generator=torch.Generator().manual_seed(0))
    data = from_arrays((x, torch.arange(23)), binarization="dynamic").train
    order = torch.randperm(23, generator=torch.Generator().manual_seed(7))
    noise = torch.Generator().manual_seed(7)
    torch.randperm(23, generator=noise)
    batches = list(data.batches(4, shuffle=True, generator=torch.Generator().manual_seed(7)))
    assert [len(x) for x, _ in batches] == [4, 4, 4, 4, 4, 3]
    for (x, y), at in zip(batches, order.split(4), strict=True):
        assert torch.equal(y, at)
        assert torch.equal(x, data.batch(at, noise)[0])


def test_an_empty_split_has_no_batches():
    empty = Split((torch.arange(3),))[:0]
    assert len(empty) == 0
    assert list(empty.batches(2)) == []


def test_to_moves_everything(dynamic):
    there = dynamic.to("meta")
    assert {t.device.type for t in (*there.tensors, there.labels, there.indices)} == {"meta"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Split(()), "no tensors"),
        (lambda: Split((torch.zeros(3), torch.zeros(2))), "one number"),
        (lambda: Split((torch.zeros(3),), labels=torch.zeros(4)), "first axis over the same data"),
        (lambda: list(Split((torch.zeros(3),)).batches(0)), "at least 1"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(DataError, match=message):
        make()


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
