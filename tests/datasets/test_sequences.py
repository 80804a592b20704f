import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.datasets import Spec, from_arrays, npz
from ppl_vae.errors import DataError

RNG = np.random.default_rng(0)
LENGTHS = [3, 5, 1, 4, 2, 5, 3, 2]
ROWS = [10 * RNG.normal(size=(n, 2)) + [3, -5] for n in LENGTHS]
WHOLE = np.concatenate(ROWS)


def padded(fill=999.0):
    x = np.full((len(ROWS), 5, 2), fill)
    for i, row in enumerate(ROWS):
        x[i, : len(row)] = row
    return x


@pytest.mark.parametrize(
    "made", [lambda how: from_arrays(ROWS, **how), lambda how: from_arrays(padded(), lengths=LENGTHS, **how)]
)
def test_batches_have_zeros_after_the_end_and_lengths(made):
    data = made({})
    x, lengths = data.train.batch()
    assert lengths.tolist() == LENGTHS
    assert lengths.dtype == torch.int64
    assert torch.allclose(x, torch.tensor(padded(0.0), dtype=torch.float32))
    assert (data.spec.shape, data.spec.time, data.spec.support) == ((5, 2), 5, "real")
    assert [field.name for field in data.spec.fields] == ["x", "lengths"]
    assert not data.spec.missing
    assert Spec.from_dict(data.spec.to_dict()) == data.spec


def test_means_and_standardization_are_of_the_steps_that_there_are():
    data = from_arrays(ROWS, standardization="zscore")
    assert np.allclose(data.spec.location, WHOLE.mean(0))
    assert np.allclose(data.spec.scale, WHOLE.std(0))
    x, _ = data.train.batch()
    assert torch.allclose(data.spec.restore(x)[1], torch.tensor(ROWS[1], dtype=torch.float32), atol=1e-5)
    assert not x[2, 1:].any()
    plain = from_arrays(ROWS).spec.mean
    first = np.stack([row[0] for row in ROWS])
    assert np.allclose(plain[0], first.mean(0), rtol=1e-5)
    last = np.stack([row[4] for row in ROWS if len(row) == 5])
    assert np.allclose(plain[4], last.mean(0), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "support"),
    [
        (lambda x: np.exp(x / 10) + 2, "real"),
        (lambda x: (x > 0).astype(int) + 1, "counts"),
        (lambda x: x > 0, "binary"),
    ],
)
def test_padding_is_in_every_support(change, support):
    rows = [change(row) for row in ROWS]
    data = from_arrays(rows)
    assert data.spec.support == support
    assert from_arrays([np.exp(row / 10) for row in ROWS], support="positive").spec.support == "positive"


def test_splits_are_padded_alike_and_shares_are_taken():
    data = from_arrays(ROWS, test=[np.zeros((7, 2))])
    assert data.train.batch()[0].shape == (8, 7, 2)
    assert data.test.batch()[1].tolist() == [7]
    data = from_arrays(ROWS, validation=2, labels=[0, 1] * 4)
    assert (len(data.train), len(data.validation), data.spec.num_classes) == (6, 2, 2)
    assert from_arrays(ROWS, time=9).spec.shape == (9, 2)
    assert from_arrays([row[:, 0] for row in ROWS]).spec.shape == (5, 1)


def test_arrays_beside_sequences_follow_the_lengths():
    data = from_arrays({"x": ROWS, "age": np.arange(8.0)}, lengths=None)
    assert [field.name for field in data.spec.fields] == ["x", "lengths", "age"]


@pytest.mark.parametrize(
    ("train", "how", "message"),
    [
        (padded(), {"lengths": [6] * 8}, "from 6 to 6, expected whole numbers from 1 to 5"),
        (padded(), {"lengths": [0] + [5] * 7}, "whole numbers from 1"),
        (padded(), {"lengths": [5] * 7}, r"lengths of shape \(7,\)"),
        (ROWS, {"time": 4}, "up to 5 steps"),
        (ROWS, {"lengths": LENGTHS}, "says them itself"),
        (padded(), {"time": 9}, "no sequences"),
        ([*ROWS[:2], np.zeros((3, 4))], {}, "features, expected the same"),
        ([np.full((2, 2), np.nan), *ROWS], {}, "missing values"),
        (ROWS, {"binarization": "dynamic"}, "binarization='dynamic' for sequences"),
        (ROWS, {"missing": True}, "missing=True for sequences"),
    ],
)
def test_what_is_refused(train, how, message):
    with pytest.raises(DataError, match=message):
        from_arrays(train, **how)


def test_npz_has_the_lengths_by_name(tmp_path):
    np.savez(tmp_path / "s.npz", x=padded(), n=LENGTHS, x_test=padded()[:2, :4], n_test=[3, 4])
    data = npz(tmp_path / "s.npz", lengths="n", validation=0)
    assert data.train.batch()[1].tolist() == LENGTHS
    assert data.test.batch()[1].tolist() == [3, 4]
    assert data.test.batch()[0].shape == (2, 5, 2)
    with pytest.raises(DataError, match="lengths='m'"):
        npz(tmp_path / "s.npz", lengths="m", validation=0)


def test_models_that_know_no_lengths_are_refused():
    spec = from_arrays(ROWS).spec
    for make in (pv.models.VAE, pv.models.GMVAE, pv.models.Hierarchical):
        with pytest.raises(DataError, match="model=state_space"):
            make(spec)
