import io
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from ppl_vae.datasets.npz import Archive, read_npy
from ppl_vae.errors import DataError

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
        (encode(ARRAY)[:20], "header is not that of an npy file"),
        (b"1,2,3\n", "header is not that of an npy file"),
        (header((10**6, 10**6)), "0 bytes of values, expected 4000000000000"),
        (encode(np.array([{}]), allow_pickle=True), "never loaded, since they can run code"),
        (header("__import__('os')"), "header is not that of an npy file"),
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
    with pytest.raises(DataError, match="no npz archive or a truncated one"):
        Archive(tmp_path / "x.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_corrupt_member(tmp_path, save):
    save(tmp_path / "x.npz", x=np.random.default_rng(0).random(1000))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[3000] ^= 0xFF
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match="truncated or corrupt"):
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
