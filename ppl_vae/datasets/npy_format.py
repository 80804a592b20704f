"""numpy's own files, read without pickle and without trusting their headers."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.datasets.files import existing_file
from ppl_vae.errors import DataError

# No deflate stream expands by more: an archive that declares it is not what it says.
_MAX_EXPANSION = 1032


def read_npy(path: str | Path) -> np.ndarray[Any, Any]:
    """Read an npy file.

    Raises:
        DataError: for a file that is missing, no npy, truncated, or holds Python objects.
    """
    file = existing_file(path, "an npy file")
    try:
        with file.open("rb") as stream:
            return _read(stream, file.stat().st_size, str(file))
    except OSError as error:
        raise DataError(f"Got {file}, which cannot be read ({error}), expected an npy file.") from None


class Archive:
    """The arrays of an npz file by name, each read when it is asked for.

    Args:
        path: the file.

    Raises:
        DataError: for a file that is missing, truncated or no npz, and where its arrays are damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.file = existing_file(path, "an npz archive")
        try:
            with zipfile.ZipFile(self.file) as archive:
                self.members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
            raise DataError(
                f"Got {self.file}, which is no npz archive or a truncated one ({error}), expected one that "
                "numpy.savez wrote: copy or download it again (for a single array use dataset=npy)."
            ) from None
        if not self.members:
            raise DataError(f"Got {self.file}, which holds no arrays, expected at least one.")

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        member, what = self.members[name], f"{self.file}[{name!r}]"
        if member.file_size > _MAX_EXPANSION * (member.compress_size + 64):
            raise DataError(
                f"Got {what}, which declares {member.file_size} bytes in {member.compress_size} compressed "
                "ones, expected a size that can be: the archive is damaged."
            )
        try:
            with zipfile.ZipFile(self.file) as archive, archive.open(member) as stream:
                return _read(stream, member.file_size, what)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise DataError(
                f"Got {what}, which is truncated or corrupt ({error}), expected a whole array: copy or "
                "download the file again."
            ) from None


def _read(stream: Any, size: int, what: str) -> np.ndarray[Any, Any]:
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read_header(stream)
    except (ValueError, KeyError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise DataError(
            f"Got {what}, whose header is not that of an npy file ({error}), expected one that numpy.save wrote."
        ) from None
    if dtype.hasobject:
        raise DataError(
            f"Got {what} of dtype {dtype}, which holds pickled Python objects, expected numbers: objects are "
            "never loaded, since they can run code; save a plain array with numpy.save(…, "
            "allow_pickle=False)."
        )
    expected, left = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if left < expected:
        raise DataError(
            f"Got {what} with {left} bytes of values, expected {expected} for the shape {shape} of {dtype} "
            "in its header: the file is truncated; copy or download it again."
        )
    values = bytearray(expected)
    filled, view = 0, memoryview(values)
    while filled < expected and (got := stream.readinto(view[filled:])):
        filled += got
    if filled < expected:
        raise DataError(f"Got {what} with {filled} bytes of values, expected {expected}: the file is truncated.")
    flat = np.frombuffer(values, dtype, count=math.prod(shape)) if expected else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")
