"""Columns that are read by block: numbers as those of the tensor in memory, few blocks in memory, each read once."""

import numpy as np
import pytest
import torch

from ppl_vae.datasets.blocks import Blocks, Column, equal_starts, numbered, survey
from ppl_vae.datasets.chosen import Chosen
from ppl_vae.datasets.split import Split
from ppl_vae.errors import DataError


class Source:
    """Blocks of tensors in memory, which notes what is read."""

    chosen = False

    def __init__(self, *tensors, starts, window=2, sequential=False):
        self.tensors, self.starts, self.window, self.sequential = tensors, starts, window, sequential
        self.read = []

    def load(self, block):
        self.read.append(block)
        return tuple(t[self.starts[block] : self.starts[block + 1]] for t in self.tensors)


def columns(source):
    blocks = Blocks(source, lambda arrays: arrays)
    size = len(source.tensors[0])
    return tuple(Column(tuple(t.shape), t.dtype, Chosen(size), blocks, i) for i, t in enumerate(source.tensors))


def of(x, block=3, window=2, sequential=False):
    source = Source(x, starts=equal_starts(len(x), block), window=window, sequential=sequential)
    return columns(source)[0], source


@pytest.mark.parametrize("seed", range(40))
def test_a_column_is_its_tensor(seed):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.integers(0, 9, (int(rng.integers(1, 40)), 2)))
    starts = [0, *sorted(rng.integers(0, len(x) + 1, 4).tolist()), len(x)]
    (column,) = columns(Source(x, starts=starts, window=int(rng.integers(1, 4))))
    for _ in range(3):
        at = torch.from_numpy(rng.integers(0, len(x), int(rng.integers(1, 9))))
        assert torch.equal(column[at], x[at])
        assert torch.equal(column[2:7], x[2:7])
        assert torch.equal(column[-1], x[-1])
        assert torch.equal(torch.cat(list(column.split(4))), x)
        assert torch.equal(column.each(lambda part, rows: part * rows[:, None])[1:], x[1:] * column_rows(column)[1:])
        assert column.shape == tuple(x.shape)
        assert column.to(torch.float64).dtype == column.to(torch.float64)[:1].dtype == torch.float64
        column, x = column.take(at), x[at]


def column_rows(column):
    return column.chosen.at(torch.arange(len(column)))[:, None]


@pytest.mark.parametrize("seed", range(20))
def test_an_index_beyond_a_part_is_refused_as_of_a_tensor_and_reads_no_neighbour(seed):
    rng = np.random.default_rng(seed)
    x = torch.arange(30)
    column, _ = of(x)
    if rng.random() < 0.5:
        column = column.take(Chosen.all_but(30, torch.tensor([4, 11, 20])))
    column = column.take(slice(3, 17))
    if rng.random() < 0.3:
        column = column.take(torch.arange(13, -1, -1))
    split, memory = Split((column,)), Split((column.cpu(),))
    for at in ([14], [-15], [0, 20], 14, -15, slice(None, None, -1), slice(9, 2, -2)):
        for take in (lambda s, at=at: s.batch(at), lambda s, at=at: s[at]):
            refusals = []
            for part in (split, memory):
                with pytest.raises((IndexError, ValueError)) as refused:
                    take(part)
                refusals.append(refused.type)
            assert refusals[0] is refusals[1]
    for at in (14, -15):
        with pytest.raises(IndexError):
            column[at]


def test_a_block_of_another_kind_than_the_first_is_refused():
    for other in (torch.zeros(3, dtype=torch.int64), torch.zeros(3, 2)):
        source = Source(torch.zeros(6), starts=[0, 3, 6], window=1)
        blocks = Blocks(source, lambda arrays: arrays)
        source.load = lambda block, other=other: (other,)
        with pytest.raises(DataError, match=r"Got data of \w+ \(.*\) from datum 3 on, expected float32 \(\) as before"):
            blocks.take([0], torch.arange(6))


def test_no_more_blocks_are_in_memory_than_a_window_and_each_is_read_once_in_order():
    column, source = of(torch.arange(30), block=3, window=2)
    source.read.clear()
    column[torch.tensor([29, 0, 15, 1, 28])]
    assert source.read == [5, 9]  # block 0 was looked at before
    column[27:30]
    assert source.read == [5, 9]
    assert len(column.source._held) == 2
    list(column.split(4))
    assert source.read[2:] == list(range(10))


def test_arrays_of_one_source_are_read_together():
    x, y = torch.arange(10.0), torch.arange(10)
    source = Source(x, y, starts=[0, 5, 10], window=1)
    split = Split(columns(source))
    source.read.clear()
    assert all(torch.equal(a.long(), b) for a, b in split.batches(5))
    assert source.read == [1]


def test_numbers_take_no_memory():
    column = numbered(10**12, start=3)
    assert column[10**11 : 10**11 + 2].tolist() == [10**11 + 3, 10**11 + 4]
    assert column.nbytes == 8 * 10**12


def test_facts_are_those_of_all_values_and_read_once():
    x = torch.tensor([[1.0, float("nan")], [0.5, 4.0], [2.0, 3.0]])
    column, source = of(x, block=1, window=1)
    assert (column.facts.missing, column.facts.low, column.facts.high, column.facts.whole) == (1, 0.5, 4.0, False)
    source.read.clear()
    assert column.missing == 1
    assert not column.infinite
    assert source.read == []
    part = column.take(slice(1, 3))
    assert part.missing == 0  # of its own: the whole has one
    assert survey(iter([])).whole


@pytest.mark.parametrize("window", [1, 2, 30])
@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("size", [2, 5, 50])
def test_an_epoch_is_every_datum_once_and_its_rest_the_same_after_any_batch(window, sequential, size):
    x = torch.arange(17)
    column, _ = of(x, block=4, window=window, sequential=sequential)
    for split in (Split((column, x)), Split((column,))[3:], Split((column,))[torch.arange(16, 1, -2)]):

        def epoch(done=0, split=split):
            generator = torch.Generator().manual_seed(5)
            return [part[0].tolist() for part in split.batches(size, shuffle=True, generator=generator, done=done)]

        whole = epoch()
        assert [len(part) for part in whole[:-1]] == [size] * (len(whole) - 1)
        assert sorted(place for part in whole for place in part) == sorted(split.tensors[0].cpu().tolist())
        for done in range(len(whole) + 1):
            assert epoch(done) == whole[done:]


def test_the_rest_of_an_epoch_is_found_without_reading_what_came_before():
    column, source = of(torch.arange(1000), block=10, window=5)
    generator = torch.Generator().manual_seed(0)
    split = Split((column,))
    source.read.clear()
    batches = split.batches(50, shuffle=True, generator=generator, done=19)
    assert [len(x) for (x,) in batches] == [50]
    assert len(source.read) <= 5


def test_data_of_at_most_a_window_are_shuffled_as_in_memory():
    x = torch.arange(20)
    column, _ = of(x, block=4, window=5)
    orders = [
        [part.tolist() for (part,) in Split((t,)).batches(3, shuffle=True, generator=torch.Generator().manual_seed(2))]
        for t in (column, x)
    ]
    assert orders[0] == orders[1]


def test_noise_hangs_on_no_batch_before():
    from ppl_vae.datasets.transform import DynamicBinarization, Transform

    column, _ = of(torch.full((64, 5), 0.5), block=4, window=2)
    split = Split((column,), transform=Transform((DynamicBinarization(1),), torch.float32))

    def epoch(done, seed=1):
        generator = torch.Generator().manual_seed(seed)
        return [x for (x,) in split.batches(8, shuffle=True, generator=generator, done=done)]

    whole = epoch(0)
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole[0], epoch(0, seed=2)[0])
    for done in range(8):
        assert all(torch.equal(a, b) for a, b in zip(epoch(done), whole[done:], strict=True))
