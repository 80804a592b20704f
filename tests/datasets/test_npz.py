import numpy as np
import pytest

from ppl_vae.datasets import npz
from ppl_vae.errors import DataError

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (30, 6, 5), dtype="uint8"), np.arange(30) % 3
NAMES = [
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "Y_train", "X_test", "Y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("train", "labels", "test", "labels_test"),
]


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
def test_usual_names(tmp_path, names):
    np.savez(tmp_path / "x.npz", **dict(zip(names, (X, Y, X[:7], Y[:7]), strict=True)))
    data = npz(tmp_path / "x.npz", validation=5)
    assert [len(split) for split in data.splits.values()] == [25, 5, 7]
    assert data.test.labels.tolist() == Y[:7].tolist()
    assert data.spec.shape == (1, 6, 5)
    assert data.spec.support == "unit"


def test_validation_of_its_own(tmp_path):
    np.savez(tmp_path / "x.npz", train_images=X, val_images=X[:4], test_images=X[:7], val_labels=Y[:4], train_labels=Y)
    data = npz(tmp_path / "x.npz")
    assert [len(split) for split in data.splits.values()] == [30, 4, 7]
    assert data.validation.labels.tolist() == Y[:4].tolist()
    assert data.test.labels is None
    with pytest.raises(DataError, match="validation=null"):
        npz(tmp_path / "x.npz", validation=0.1)


def test_one_array_needs_no_name(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", whatever=X)
    assert [len(split) for split in npz(tmp_path / "x.npz").splits.values()] == [24, 3, 3]


def test_other_names_are_given(tmp_path):
    np.savez(tmp_path / "x.npz", faces=X, who=np.array(["ann", "bob", "eve"])[Y])
    with pytest.raises(DataError, match="arrays faces, who, expected to know which"):
        npz(tmp_path / "x.npz")
    data = npz(tmp_path / "x.npz", x="faces", labels="who", validation=0, test=0)
    assert data.spec.class_names == ("ann", "bob", "eve")
    with pytest.raises(DataError, match=r"x='face', which .* does not hold, expected one of faces, who"):
        npz(tmp_path / "x.npz", x="face")


def test_objects_beside_the_data_are_not_touched(tmp_path):
    np.savez(tmp_path / "x.npz", imgs=X, metadata=np.array({"a": 1}, dtype=object))
    assert len(npz(tmp_path / "x.npz").train) == 24


def test_colours_last_are_moved(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.stack([X] * 3, -1))
    assert npz(tmp_path / "x.npz").spec.shape == (3, 6, 5)
    assert npz(tmp_path / "x.npz", channels="keep").spec.shape == (6, 5, 3)


def test_numbers_keep_their_shape(tmp_path):
    np.savez(tmp_path / "x.npz", x=X / 255)
    data = npz(tmp_path / "x.npz", binarization="dynamic")
    assert data.spec.shape == (6, 5)
    assert data.spec.support == "binary"
    assert npz(tmp_path / "x.npz", channels="none").spec.shape == (1, 6, 5)


def test_pixels_that_are_not_finite(tmp_path):
    bad = X / 255
    bad[3, 2, 1] = np.nan
    np.savez(tmp_path / "x.npz", x=bad)
    with pytest.raises(DataError, match=r"x\.npz: Got 1 value of train NaN .*datum 3 at \[2, 1\]"):
        npz(tmp_path / "x.npz")
