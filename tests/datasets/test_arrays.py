import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import ppl_vae.datasets as datasets
from ppl_vae.datasets import from_arrays
from ppl_vae.errors import DataError


def test_given_splits_are_kept():
    a, b, c = torch.rand(5, 2), torch.rand(3, 2), torch.rand(4, 2)
    data = from_arrays(a, b, c)
    assert [torch.equal(s.batch()[0], x) for s, x in zip(data.splits.values(), (a, b, c), strict=True)] == [True] * 3


def test_shares_are_carved_from_train():
    x = torch.arange(20.0)[:, None] / 20
    data = from_arrays(x, 0.1, 4)
    assert [len(split) for split in data.splits.values()] == [14, 2, 4]
    everything = torch.cat([split.batch()[0] for split in data.splits.values()])
    assert torch.equal(everything.sort(0).values, x)


def test_validation_is_carved_beside_a_given_test():
    data = from_arrays(torch.rand(10, 2), 0.2, torch.rand(3, 2))
    assert [len(split) for split in data.splits.values()] == [8, 2, 3]
    numbers = torch.cat([split.indices for split in data.splits.values()])
    assert numbers.sort().values.tolist() == list(range(13))  # no datum shares its noise with another


def test_nothing_is_carved_unasked():
    data = from_arrays(torch.rand(10, 2))
    assert (len(data.train), len(data.validation), len(data.test)) == (10, 0, 0)
    assert data.validation.batch()[0].shape == (0, 2)


def test_one_datum_is_enough():
    data = from_arrays(np.array([[0.5, 2.0], [1.0, 1.0]]), validation=1)
    assert (len(data.train), len(data.validation)) == (1, 1)
    assert len(from_arrays(torch.rand(1, 3)).train) == 1


def test_tuples_become_batches_of_several_tensors():
    x, mask, length = torch.randn(6, 4, 2), torch.ones(6, 4, dtype=torch.bool), torch.arange(6)
    data = from_arrays((x, mask, length), 2)
    batch = data.train.batch()
    assert [t.dtype for t in batch] == [torch.float32, torch.bool, torch.int64]
    assert [field.name for field in data.spec.fields] == ["x", "x1", "x2"]
    assert [field.shape for field in data.spec.fields] == [(4, 2), (4,), ()]


def test_a_tensor_data_set_is_its_tensors():
    x, y = torch.rand(4, 2).double(), torch.arange(4)
    data = from_arrays(TensorDataset(x, y), validation=1)
    assert [t.dtype for t in data.train.batch()] == [torch.float64, torch.int64]
    with pytest.raises(DataError, match=r"Got a DataLoader as train, expected what it loads"):
        from_arrays(DataLoader(TensorDataset(x)))


def test_shapes_are_kept():
    for shape in [(6,), (6, 3), (6, 28, 28), (6, 2, 3, 4, 5)]:
        assert from_arrays(torch.rand(shape)).train.batch()[0].shape == shape


def test_a_data_frame_names_its_columns():
    data = from_arrays(pd.DataFrame({"a": [0.1, 0.2], "b": [3.0, 4.0]}))
    assert data.spec.feature_names == ("a", "b")


def test_labels_stay_apart_unless_asked_for():
    x, y = torch.rand(4, 2), ["b", "a", "b", "a"]
    apart = from_arrays(x, labels=y)
    assert len(apart.train.batch()) == 1
    assert apart.train.labels.tolist() == [1, 0, 1, 0]
    together = from_arrays(x, labels=y, with_labels=True)
    assert torch.equal(together.train.batch()[1], apart.train.labels)
    assert together.spec.fields[-1].name == "y"
    assert together.spec.class_names == ("a", "b")


def test_labels_of_several_splits():
    data = from_arrays(torch.rand(2, 1), None, torch.rand(3, 1), labels=([0, 1], [1, 1, 2]))
    assert data.test.labels.tolist() == [1, 1, 2]
    assert data.spec.num_classes == 3


def test_factors():
    data = from_arrays(torch.rand(4, 2), 1, factors={"size": [0, 1, 2, 0], "angle": [1, 1, 0, 0]})
    assert data.spec.factor_names == ("size", "angle")
    assert data.spec.factor_sizes == (3, 2)
    assert data.train.factors.shape == (3, 2)


@pytest.mark.parametrize("policy", ["none", "static", "dynamic", "threshold"])
def test_mean_is_that_of_the_training_batches(policy):
    """5,000 data; the mean of binary draws within 5 standard errors in each of 6 pixels, false alarms below 4e-6."""
    x = torch.randint(0, 256, (6000, 1, 2, 3), dtype=torch.uint8)
    data = from_arrays(x, 500, 500, binarization=policy)
    seen = data.train.batch()[0].mean(0)
    tolerance = 5 * (0.25 / 5000) ** 0.5 if policy == "dynamic" else 1e-6
    assert (seen - data.spec.mean).abs().max() < tolerance
    assert data.spec.mean.shape == (1, 2, 3)


def test_double_precision_on_request_and_from_torch():
    assert from_arrays(np.random.default_rng(0).random((3, 2)), dtype="float64").train.batch()[0].dtype == torch.float64
    assert from_arrays(torch.rand(3, 2).double()).train.batch()[0].dtype == torch.float64
    assert from_arrays(np.zeros((3, 2), "uint8"), dtype="float64").spec.fields[0].dtype == "float64"


def test_provenance_is_plain():
    data = from_arrays(torch.rand(10, 2), 0.2, seed=7)
    assert json.loads(json.dumps(data.provenance)) == {
        "source": "arrays",
        "seed": 7,
        "sizes": {"train": 8, "validation": 2, "test": 0},
        "policies": {"binarization": "none", "dequantization": "none", "scaling": "unit", "standardization": "none"},
    }


def test_wide_integers_are_counts_until_levels_are_said():
    x = np.array([[0, 40000]], dtype="uint16")
    assert from_arrays(x).spec.support == "counts"
    data = from_arrays(x, levels=65536)
    assert data.spec.support == "unit"
    torch.testing.assert_close(data.train.batch()[0], torch.tensor([[0, 40000 / 65535]]))


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([[0, 300]]), torch.int64),
        (np.array([[0, 300]], "int16"), torch.int64),
        (np.array([[0, 1]]), torch.int64),
        (np.array([[-3, 1]]), torch.int64),
        (np.array([[0, 1]], "uint8"), torch.float32),
        (np.array([[0, 255]], "uint8"), torch.float32),
        (np.array([[False, True]]), torch.bool),
        (np.array([[0.0, 300.0]], "float32"), torch.float32),
    ],
    ids=str,
)
def test_whole_numbers_and_booleans_stay_what_they_are(array, dtype):
    data = from_arrays(array)
    assert data.train.batch()[0].dtype == dtype
    assert data.spec.fields[0].torch_dtype == dtype
    pixels = array.dtype == "uint8" and array.max() > 1
    assert data.train.batch()[0].tolist() == (array / 255 if pixels else array).tolist()


def test_whole_numbers_become_floats_where_a_policy_makes_them():
    x = torch.tensor([[0, 3], [2, 1], [4, 4]])
    for options in ({"levels": 5}, {"standardization": "zscore"}, {"levels": 5, "dequantization": "uniform"}):
        assert from_arrays(x, **options).train.batch()[0].dtype == torch.float32
    assert from_arrays(x, levels=5, scaling="none").train.batch()[0].dtype == torch.int64
    assert from_arrays(x, levels=5, binarization="static").train.batch()[0].dtype == torch.float32


def test_large_whole_numbers_lose_nothing():
    x = torch.tensor([[2**40 + 1, 2**24 + 1]])
    assert torch.equal(from_arrays(x).train.batch()[0], x)


def test_missing_values_stay_and_are_left_out_of_statistics():
    x = torch.tensor([[1.0, float("nan")], [3.0, 5.0], [float("nan"), 7.0]])
    data = from_arrays(x, standardization="zscore")
    assert torch.equal(data.train.batch()[0].isnan(), x.isnan())
    assert data.spec.location == (2.0, 6.0)
    assert torch.equal(from_arrays(x).spec.mean, torch.tensor([2.0, 6.0]))


def test_to_moves_every_split():
    there = from_arrays(torch.rand(4, 2), 1, 1).to("meta")
    assert {split.device.type for split in there.splits.values()} == {"meta"}


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((None,), {}, "Got train=None"),
        ((3,), {}, "Got train=3"),
        (((),), {}, "empty tuple"),
        ((torch.zeros(0, 3),), {}, "holds no data"),
        ((torch.zeros(3, 0),), {}, "holds no data"),
        ((torch.rand(3, 2), torch.rand(0, 2)), {}, "validation of shape .0, 2."),
        (((torch.rand(3, 2), torch.rand(4)),), {}, "3 data in train.0. and 4 in train.1."),
        ((torch.rand(3, 2), torch.rand(3, 4)), {}, "same in every split"),
        ((torch.rand(3, 2), (torch.rand(3, 2), torch.rand(3))), {}, "same in every split"),
        ((torch.tensor([[float("-inf")]]),), {}, "1 value of train infinite"),
        ((torch.tensor([[float("nan")]]),), {"binarization": "dynamic"}, "NaN in x with binarization='dynamic'"),
        ((torch.rand(3, 2), torch.ones(3, 2, dtype=torch.int64)), {}, "floats in train and integers in validation"),
        ((torch.rand(3, 2), torch.tensor([[0.0, float("inf")]])), {}, "1 value of validation"),
        ((torch.rand(3, 2),), {"labels": [0, 1]}, "2 labels for 3 data of train"),
        ((torch.rand(3, 2), torch.rand(1, 2)), {"labels": [0, 1, 2]}, "expected a tuple"),
        ((torch.rand(3, 2),), {"labels": ([0, 1, 2], [1])}, "labels for 2 splits, expected 1"),
        ((torch.rand(3, 2),), {"with_labels": True}, "without labels"),
        ((torch.rand(3, 2),), {"factors": {"a": [0, 1]}}, "2 factors for 3 data"),
        ((torch.rand(3, 2),), {"factors": {"a": [0, 1], "b": [0, 1, 2]}}, "2 of 'a', 3 of 'b'"),
        ((torch.rand(3, 2),), {"factors": {}}, "no factors"),
        ((torch.rand(4, 2), 0.1), {}, "comes to no datum"),
        ((torch.rand(4, 2),), {"dtype": "int8"}, "floating-point"),
    ],
)
def test_refuses(args, options, message):
    with pytest.raises(DataError, match=message):
        from_arrays(*args, **options)


def test_importing_is_light():
    import subprocess
    import sys

    code = "import sys, ppl_vae.datasets; print({'sklearn', 'pandas', 'pyarrow', 'pyro'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "set()"


def test_public_names_exist():
    assert all(hasattr(datasets, name) for name in datasets.__all__)
