"""The IDX format of the MNIST family: a magic number, sizes, then the values, all big-endian."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from contextlib import nullcontext
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any

import numpy as np

from ppl_vae.datasets.files import existing_file
from ppl_vae.datasets.memory import check_fits
from ppl_vae.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK = 1 << 22
_OTHERS = {
    b"<": "it looks like a web page saved in the place of the file",
    b"PK": "it is a zip archive: unpack it",
    b"\x89PNG": "it is a picture",
    b"\x93NUM": "it is an npy file: use dataset=npy",
}


def read_idx(path: str | Path) -> np.ndarray[Any, Any]:
    """Read an IDX file, compressed by gzip or not, whatever its name says.

    No more memory is taken than the file really fills, however much its header declares.

    Args:
        path: the file.

    Returns:
        The array in native byte order, with the shape that the header gives.

    Raises:
        DataError: for a file that is missing, of another format, truncated, corrupt or too long.

    References:
        LeCun, Cortes and Burges (1998), The MNIST database of handwritten digits, http://yann.lecun.com/exdb/mnist/
    """
    file = existing_file(path, "an idx file")
    with file.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    try:
        with file.open("rb") as raw, gzip.open(raw) if compressed else nullcontext(raw) as stream:
            return _read(stream, file, None if compressed else file.stat().st_size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"Got {file}, whose gzip compression is truncated or corrupt ({error}), expected a whole file: "
            "copy or download it again."
        ) from None
    except OSError as error:
        raise DataError(f"Got {file}, which cannot be read ({error}), expected an idx file.") from None


def _read(stream: GzipFile | IO[bytes], file: Path, size: int | None) -> np.ndarray[Any, Any]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] == 0:
        hint = next((text for start, text in _OTHERS.items() if magic.startswith(start)), "it is of another kind")
        raise DataError(
            f"Got {file}, which begins with the bytes {magic.hex(' ')}, expected the magic number of an idx "
            "file (00 00, a type of 08, 09, 0b, 0c, 0d or 0e, the number of axes; 00 00 08 03 for images): "
            f"{hint}."
        )
    axes = magic[3]
    header = stream.read(4 * axes)
    if len(header) < 4 * axes:
        raise DataError(f"Got {file}, which ends within its header, expected {axes} sizes: copy or download it again.")
    shape = struct.unpack(f">{axes}I", header)
    dtype = np.dtype(_TYPES[magic[2]])
    expected = math.prod(shape) * dtype.itemsize
    start = 4 + 4 * axes
    if size is not None and size - start < expected:
        raise _truncated(file, size - start, expected, shape)
    if size is not None:
        check_fits(expected, str(file), "Take a part of it.")
    values = bytearray()
    while len(values) <= expected and (chunk := stream.read(min(_CHUNK, expected + 1 - len(values)) or 1)):
        values += chunk
    if len(values) < expected:
        raise _truncated(file, len(values), expected, shape)
    if len(values) > expected:
        raise DataError(
            f"Got {file} with more than the {expected} bytes of values that its header declares (shape "
            f"{shape}), expected just these: the file is damaged or no idx file."
        )
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _truncated(file: Path, got: int, expected: int, shape: tuple[int, ...]) -> DataError:
    return DataError(
        f"Got {file} with {got} bytes of values, expected {expected} for the shape {shape} in its header: "
        "the file is truncated; copy or download it again."
    )
