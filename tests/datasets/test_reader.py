"""The one way from files to a data set: own splits or shares, labels of each, names and checksums of the files."""

import hashlib

import numpy as np
import pytest

from ppl_vae.datasets.reader import from_files
from ppl_vae.errors import DataError

X, Y = np.random.default_rng(0).random((20, 3)), np.arange(20) % 2


def load(arrays, validation=None, test=None, files=(), **how):
    return from_files("mine", "folder/x.bin", arrays, files, validation=validation, test=test, **how)


@pytest.mark.parametrize(
    ("own", "shares", "sizes"),
    [
        ((), {}, [16, 2, 2]),
        ((), {"validation": 5, "test": 0}, [15, 5, 0]),
        (("test",), {}, [18, 2, 20]),
        (("validation",), {"test": 1}, [19, 20, 1]),
        (("validation", "test"), {}, [20, 20, 20]),
    ],
    ids=str,
)
def test_splits_are_the_files_own_or_set_aside(own, shares, sizes):
    data = load({"x": X, **{f"x_{split}": X for split in own}}, **shares)
    assert [len(split) for split in data.splits.values()] == sizes
    assert data.name == "mine"


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_share_in_the_place_of_own_data_is_refused(split):
    with pytest.raises(DataError, match=f"{split}=0.1 for folder/x.bin, .* expected {split}=null"):
        load({"x": X, f"x_{split}": X}, **{split: 0.1})


def test_labels_go_with_their_split():
    data = load({"x": X, "labels": Y, "x_test": X[:4], "labels_test": Y[:4], "labels_validation": Y[:1]})
    assert data.test.labels.tolist() == Y[:4].tolist()
    assert len(data.train.labels) == 18
    assert load({"x": X, "x_test": X[:4], "labels_test": Y[:4]}).train.labels is None


def test_files_are_recorded_and_named(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    data = load({"x": X}, files=[tmp_path / "a"])
    assert data.provenance["files"] == {str(tmp_path / "a"): hashlib.sha256(b"abc").hexdigest()}
    with pytest.raises(DataError, match=r"^/.*folder/x\.bin: Got train of shape"):
        load({"x": X[:0]})
