import numpy as np
import pytest

from ppl_vae.datasets import npz as npy
from ppl_vae.errors import DataError


def test_loads_one_array_and_labels(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((20, 3)))
    np.save(tmp_path / "y.npy", np.arange(20) % 2)
    data = npy(tmp_path / "x.npy", labels=tmp_path / "y.npy", dtype="float64")
    assert [len(split) for split in data.splits.values()] == [16, 2, 2]
    assert data.spec.num_classes == 2
    assert data.spec.fields[0].dtype == "float64"
    assert set(data.provenance["files"]) == {str(tmp_path / "x.npy"), str(tmp_path / "y.npy")}


def test_grey_images_get_a_channel(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((10, 4, 5), "uint8") + 7)
    assert npy(tmp_path / "x.npy").spec.shape == (1, 4, 5)


def test_labels_of_another_size(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((10, 2)))
    np.save(tmp_path / "y.npy", np.zeros(9, int))
    with pytest.raises(DataError, match="9 labels for 10 data"):
        npy(tmp_path / "x.npy", labels=tmp_path / "y.npy")


def test_a_scalar(tmp_path):
    np.save(tmp_path / "x.npy", np.array(3.0))
    with pytest.raises(DataError, match="single number"):
        npy(tmp_path / "x.npy")
