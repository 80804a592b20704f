import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from ppl_vae.datasets.idx import read_idx
from ppl_vae.errors import DataError


def encode(array, code=None, shape=None):
    codes = {"u1": 8, "i1": 9, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
    shape = array.shape if shape is None else shape
    head = bytes([0, 0, code or codes[array.dtype.str[1:]], len(shape)])
    return head + struct.pack(f">{len(shape)}I", *shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_type_goes_round(tmp_path, dtype, compressed):
    array = np.arange(-6, 18).reshape(2, 3, 4).astype(dtype)
    file = tmp_path / "data.bin"  # the content tells whether it is compressed, not the name
    file.write_bytes(gzip.compress(encode(array)) if compressed else encode(array))
    read = read_idx(file)
    assert read.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read, array)


IMAGES = encode(np.zeros((5, 4, 4), "uint8"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (IMAGES[:-1], r"79 bytes of values, expected 80 for the shape \(5, 4, 4\).*truncated"),
        (IMAGES[:10], "truncated, corrupt or no idx file"),
        (IMAGES[:3], "magic number"),
        (IMAGES + b"\0", "more than the 80 bytes"),
        (gzip.compress(IMAGES)[:-12], "truncated, corrupt or no idx file"),
        (gzip.compress(IMAGES[:-1]), "79 bytes of values, expected 80"),
        (gzip.compress(IMAGES + b"\0"), "more than the 80 bytes"),
        (gzip.compress(IMAGES)[:-8] + b"\0\0\0\0\0\0\0\0", "truncated, corrupt or no idx file"),
        (b"<!DOCTYPE html>", "begins with the bytes 3c 21 44 4f, expected the magic number .* web page"),
        (b"PK\x03\x04....", "zip archive: unpack it"),
        (b"\x89PNG....", "picture"),
        (b"\x93NUMPY..", "dataset=npy"),
        (encode(np.zeros(3, "uint8"), code=7), "magic number"),
        (bytes([0, 0, 8, 0]), "magic number"),
        (encode(np.zeros((1,) * 64, "uint8"), shape=(1,) * 80), "corrupt or no idx file"),
    ],
    ids=lambda v: v[:24] if isinstance(v, str) else "",
)
def test_damage_is_told(tmp_path, content, message):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "train-images-idx3-ubyte")


@pytest.mark.parametrize("compressed", [False, True])
def test_a_header_of_gigabytes_takes_no_memory(tmp_path, compressed):
    content = encode(np.zeros(10, "uint8"), shape=(60_000, 10_000, 10_000))
    (tmp_path / "x").write_bytes(gzip.compress(content) if compressed else content)
    tracemalloc.start()
    with pytest.raises(DataError, match="10 bytes of values, expected 6000000000000"):
        read_idx(tmp_path / "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e7
