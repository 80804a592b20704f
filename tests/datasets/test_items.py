"""Data sets of torch, by number and one after the other: the tensors that they are."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import ppl_vae as pv
from ppl_vae.config.build import build_dataset
from ppl_vae.core.data import as_split
from ppl_vae.errors import DataError

X, Y = np.random.default_rng(0).random((50, 3)).astype("float32"), np.arange(50) % 4


class Numbered(Dataset):
    def __init__(self, item=lambda i: torch.from_numpy(X[i]), size=50):
        self.item, self.size = item, size

    def __len__(self):
        return self.size

    def __getitem__(self, i):
        return self.item(i)


class AtOnce(Numbered):
    def __getitems__(self, numbers):
        assert isinstance(numbers, list)
        return [self.item(i) for i in numbers]


class OneByOne(IterableDataset):
    def __init__(self, item=lambda i: torch.from_numpy(X[i]), size=50, length=None):
        self.item, self.size, self.length, self.begun = item, size, length or size, 0

    def __len__(self):
        return self.length

    def __iter__(self):
        self.begun += 1
        return map(self.item, range(self.size))


KINDS = [Numbered, AtOnce, OneByOne]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("item", ["tensor", "array", "tuple", "list"])
def test_is_its_items(kind, item):
    make = {
        "tensor": lambda i: torch.from_numpy(X[i]),
        "array": lambda i: X[i],
        "tuple": lambda i: (torch.from_numpy(X[i]), int(Y[i])),
        "list": lambda i: [X[i], Y[i]],
    }[item]
    split = as_split(kind(make))
    x, *rest = split.batch()
    assert torch.equal(x, torch.from_numpy(X))
    assert [y.tolist() for y in rest] == ([] if item in ("tensor", "array") else [Y.tolist()])
    whole = pv.datasets.from_arrays((X, Y) if rest else X, validation=5, test=0.2, standardization="zscore")
    data = pv.datasets.from_arrays(kind(make), validation=5, test=0.2, standardization="zscore")
    assert data.spec == whole.spec
    for a, b in zip(data.splits.values(), whole.splits.values(), strict=True):
        assert all(torch.equal(s, t) for s, t in zip(a.batch(), b.batch(), strict=True))


def test_sparse_items_are_dense_data():
    data = Numbered(lambda i: torch.from_numpy(X[i]).to_sparse())
    assert torch.equal(as_split(data).batch()[0], torch.from_numpy(X))


def test_items_of_another_kind_in_a_later_block_are_refused():
    data = Numbered(lambda i: 1 if i < 131072 else 0.5, size=131080)  # numbers of 8 bytes: a block has 131072
    with pytest.raises(DataError, match=r"Got data of float\d+ \(\) from datum 131072 on, expected int64 \(\)"):
        pv.datasets.from_arrays(data)


def test_a_part_of_a_tensor_data_set():
    part = Subset(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), [4, 2, 9])
    assert torch.equal(as_split(part).batch()[0], torch.from_numpy(X[[4, 2, 9]]))


def test_an_iterable_is_begun_once_for_each_pass():
    data = OneByOne()
    split = as_split(data)
    begun = data.begun
    assert sum(len(x) for (x,) in split.batches(7)) == 50
    assert data.begun <= begun + 1


def test_numbers_of_python_are_as_numpys_arrays():
    data = pv.datasets.from_arrays(Numbered(lambda i: (0.5, i)), 5)
    assert [t.dtype for t in data.train.batch()] == [torch.float32, torch.int64]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (OneByOne(length=60), r"ended after \d+ items, expected 60"),
        (Numbered(lambda i: {"x": X[i]}), r"a dict as an item, expected a tensor.*values as a tuple"),
        (Numbered(lambda i: X[i][: 1 + i % 2]), r"cannot be put together"),
        (Numbered(lambda i: (X[i],) * (1 + i % 2)), r"different lengths"),
        (Numbered(lambda i: "text"), r"a str as an item"),
        (Numbered(lambda i: X[i] / np.float32(i)), r"infinite"),
        (Numbered(size=0), r"holds no data"),
        (DataLoader(Numbered()), r"Got a DataLoader as data, expected what it loads.*\.dataset"),
    ],
    ids=range(8),
)
@pytest.mark.filterwarnings("ignore:.*encountered in.*:RuntimeWarning")
def test_refuses(data, message):
    with pytest.raises(DataError, match=message):
        as_split(data)


def test_a_length_is_asked_for():
    class Endless(IterableDataset):
        def __iter__(self):
            return iter(X)

    with pytest.raises(DataError, match=r"Got a Endless as data without a length, expected len\(\).*__len__"):
        as_split(Endless())


def test_a_config_may_name_one():
    data = build_dataset({"dataset": {"_target_": f"{__name__}.Numbered"}}, trusted=True)
    assert [len(split) for split in data.splits.values()] == [40, 5, 5]
