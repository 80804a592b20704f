import io
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from ppl_vae.datasets import npy, npz
from ppl_vae.datasets.npz import Archive, read_npy
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
    bad[3, 2, 1] = np.inf
    np.savez(tmp_path / "x.npz", x=bad)
    with pytest.raises(DataError, match=r"x\.npz: Got 1 value of train infinite .*datum 3 at \[2, 1\]"):
        npz(tmp_path / "x.npz")


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


ARRAY = np.arange(24, dtype="float32").reshape(2, 3, 4)


def encode(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def header(shape, dtype="<f4"):
    text = str({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


ARRAYS = [
    ARRAY,
    np.asfortranarray(ARRAY),
    ARRAY.astype(">i2"),
    np.array(["a", "bcd"]),
    np.zeros((0, 3)),
    np.array(True),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_goes_round(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", x=array)
    np.savez_compressed(tmp_path / "c.npz", x=array)
    for read in (read_npy(tmp_path / "x.npy"), Archive(tmp_path / "x.npz")["x"], Archive(tmp_path / "c.npz")["x"]):
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encode(ARRAY)[:-1], r"95 bytes of values, expected 96 for the shape \(2, 3, 4\)"),
        (encode(ARRAY)[:20], "truncated, corrupt or no npy"),
        (b"1,2,3\n", "truncated, corrupt or no npy"),
        (header((10**6, 10**6)), "0 bytes of values, expected 4000000000000"),
        (encode(np.array([{}]), allow_pickle=True), "never loaded, since they can run code"),
        (header((-1, 3)), "truncated, corrupt or no npy"),
        (header("__import__('os')"), "truncated, corrupt or no npy"),
    ],
    ids=lambda v: v[:20] if isinstance(v, str) else "",
)
def test_damaged_npy(tmp_path, content, message):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_npy(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(DataError, match=message):
        Archive(tmp_path / "x.npz")["x"]


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_truncated_archive(tmp_path, kept):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random(1000))
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match="truncated, corrupt or no npz archive"):
        Archive(tmp_path / "x.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_corrupt_member(tmp_path, save):
    save(tmp_path / "x.npz", x=np.random.default_rng(0).random(1000))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[3000] ^= 0xFF
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match="truncated, corrupt or no npy array"):
        Archive(tmp_path / "x.npz")["x"]


def test_a_single_array_in_the_place_of_an_archive(tmp_path):
    np.save(tmp_path / "x.npy", ARRAY)
    with pytest.raises(DataError, match="dataset=npy"):
        Archive(tmp_path / "x.npy")


def test_an_archive_of_nothing(tmp_path):
    np.savez(tmp_path / "x.npz")
    with pytest.raises(DataError, match="holds no arrays"):
        Archive(tmp_path / "x.npz")


def test_sizes_that_cannot_be_take_no_memory(tmp_path):
    """A directory entry that declares terabytes in a few bytes."""
    content = header((10**6, 10**6))
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    archive = Archive(tmp_path / "x.npz")
    archive.members["x"].file_size = 4 * 10**12 + len(content)
    tracemalloc.start()
    with pytest.raises(DataError, match="expected a size that can be"):
        archive["x"]
    assert tracemalloc.get_traced_memory()[1] < 1e7
    tracemalloc.stop()


def test_deflate_expands_by_no_more_than_assumed():
    zeros = zlib.compress(bytes(10**7), 9)
    assert 1032 * (len(zeros) + 64) > 10**7
