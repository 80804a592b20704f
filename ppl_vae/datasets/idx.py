"""Any folder of the MNIST family: MNIST, Fashion-MNIST, KMNIST, EMNIST, QMNIST, or one of your own.

The IDX format is a magic number, sizes, then the values, all big-endian.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
from collections.abc import Iterator
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any, Unpack

import numpy as np

from ppl_vae.datasets.convert import Channels
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.files import (
    MAX_EXPANSION,
    check_fits,
    check_whole,
    existing,
    existing_file,
    existing_folder,
    reading,
)
from ppl_vae.datasets.keywords import source
from ppl_vae.datasets.preparation import Pixels
from ppl_vae.datasets.reader import from_files
from ppl_vae.errors import DataError

# train-images-idx3-ubyte.gz, train-images.idx3-ubyte, emnist-letters-test-labels-idx1-ubyte, TRAIN_IMAGES.idx, …
_NAME = re.compile(r"(?P<variant>.*?)-?(?P<split>train|t10k|test)-(?P<kind>images|labels)(-idx\d?)?(-\w+?)?(-gz)?")
_DEPTH = 2  # torchvision keeps them in MNIST/raw, other archives in a folder per file
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK = 1 << 22
_OTHERS = {
    b"<": "it looks like a web page saved in the place of the file",
    b"PK": "it is a zip archive: unpack it",
    b"\x89PNG": "it is a picture",
    b"\x93NUM": "it is an npy file: use dataset=npy",
}


@source
def idx(
    path: str | Path,
    *,
    variant: str | None = None,
    channels: Channels = "auto",
    validation: float = 0.1,
    test: float | None = None,
    **how: Unpack[Pixels],
) -> Dataset:
    """Load a folder of idx files, compressed or not: ``train-images…``, and if there are, labels and test files.

    Args:
        path: the folder; or one idx file of images.
        variant: what the file names begin with, where a folder holds several data sets (``emnist-letters``).
        channels: of images with four axes, see `channels_first`.
        validation: fraction or number of training data.
        test: fraction or number of training data, where the folder has no test files; a tenth by default.
        how: see `Pixels`.

    Raises:
        DataError: for missing, ambiguous, truncated, corrupt or contradictory files.
    """
    return load_idx("idx", path, variant, validation=validation, test=test, channels=channels, **how)


def load_idx(
    name: str, path: str | Path, variant: str | None = None, *, validation: float, test: float | None = None, **how: Any
) -> Dataset:
    """Load a folder of idx files under a name of its own; `how` goes to `from_arrays`."""
    if existing(path, "a folder with idx files").is_file():
        files = {"x": existing_file(path, "an idx file")}
    else:
        files = find_idx(path, variant)
    arrays = {part: _images(file) if part.startswith("x") else _labels(file) for part, file in files.items()}
    return from_files(name, path, arrays, files.values(), validation=validation or 0, test=test, **how)


def find_idx(path: str | Path, variant: str | None = None) -> dict[str, Path]:
    """Find the files by their names, in any case, with dots, dashes or underscores.

    Returns:
        Files by the part that they play: ``x`` and, where found, ``labels``, ``x_test``, ``labels_test``.

    Raises:
        DataError: if there are no training images, or those of several data sets.
    """
    folder = existing_folder(path, "a folder with idx files")
    found: dict[str, dict[str, Path]] = {}
    for file in _walk(folder, _DEPTH):
        match = _NAME.fullmatch(_plain(file.name))
        if match is None or (match["kind"] == "images" and "-idx1" in file.name):
            continue
        part = {"images": "x", "labels": "labels"}[match["kind"]] + ("" if match["split"] == "train" else "_test")
        files = found.setdefault(match["variant"], {})
        if part not in files or files[part].suffix == ".gz":  # a file reads faster than its compressed twin
            files[part] = file
    wanted = None if variant is None else _plain(variant).strip("-")
    found = {key: files for key, files in found.items() if "x" in files and wanted in (None, key)}
    if not found:
        held = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8])
        raise DataError(
            f"Got {folder}{'' if variant is None else f' with variant={variant!r}'}, expected a file such as "
            f"train-images-idx3-ubyte or train-images-idx3-ubyte.gz in it (it holds {held or 'nothing'})."
        )
    if len(found) > 1:
        raise DataError(
            f"Got {folder}, which holds several data sets, expected one: give variant= one of "
            f"{', '.join(map(repr, sorted(found)))}."
        )
    return found.popitem()[1]


def _plain(name: str) -> str:
    return re.sub(r"[._ -]+", "-", name.lower())


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    entries = sorted(folder.iterdir())
    yield from (entry for entry in entries if entry.is_file())
    for entry in entries:
        if depth and entry.is_dir() and not entry.name.startswith("."):
            yield from _walk(entry, depth - 1)


def _images(file: Path) -> np.ndarray[Any, Any]:
    values = read_idx(file)
    if values.ndim == 1:
        raise DataError(f"Got {file} with the shape {values.shape}, expected images: are these the labels?")
    return values[:, None] if values.ndim == 3 else values


def _labels(file: Path) -> np.ndarray[Any, Any]:
    values = read_idx(file)
    if values.ndim == 2:  # QMNIST: class, then the writer and other details
        return values[:, 0]
    if values.ndim != 1:
        raise DataError(
            f"Got {file} with the shape {values.shape}, expected one label per datum: are these the images?"
        )
    return values


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
    check_fits(file.stat().st_size, str(file), "Take a part of it.")
    with reading(file, "idx file"), file.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        return _read(gzip.open(raw) if compressed else raw, file)


def _read(stream: GzipFile | IO[bytes], file: Path) -> np.ndarray[Any, Any]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] == 0:
        hint = next((text for start, text in _OTHERS.items() if magic.startswith(start)), "it is of another kind")
        raise DataError(
            f"Got {file}, which begins with the bytes {magic.hex(' ')}, expected the magic number of an idx "
            "file (00 00, a type of 08, 09, 0b, 0c, 0d or 0e, the number of axes; 00 00 08 03 for images): "
            f"{hint}."
        )
    shape = struct.unpack(f">{magic[3]}I", stream.read(4 * magic[3]))
    dtype = np.dtype(_TYPES[magic[2]])
    declared, values = math.prod(shape) * dtype.itemsize, bytearray()
    check_fits(min(declared, MAX_EXPANSION * file.stat().st_size), str(file), "Take a part of it.")
    while len(values) <= declared and (chunk := stream.read(min(_CHUNK, declared + 1 - len(values)))):
        values += chunk
    check_whole(file, len(values), declared, shape)
    if len(values) > declared:
        raise DataError(
            f"Got {file} with more than the {declared} bytes of values that its header declares (shape "
            f"{shape}), expected just these: the file is damaged or no idx file."
        )
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
