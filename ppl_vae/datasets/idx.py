"""Any folder of the MNIST family: MNIST, Fashion-MNIST, KMNIST, EMNIST, QMNIST, or one of your own.

The IDX format is a magic number, sizes, then the values, all big-endian.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any, Unpack

import numpy as np

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.convert import Channels
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.files import check_fits, existing_file, existing_folder, naming, with_files
from ppl_vae.datasets.keywords import source
from ppl_vae.datasets.preparation import Binarization, Pixels
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
    binarization: Binarization = "dynamic",
    validation: float = 0.1,
    test: float | None = None,
    **how: Unpack[Pixels],
) -> Dataset:
    """Load a folder of idx files, compressed or not: ``train-images…``, and if there are, labels and test files.

    Args:
        path: the folder; or one idx file of images.
        variant: what the file names begin with, where a folder holds several data sets (``emnist-letters``).
        channels: of images with four axes, see `channels_first`.
        binarization: ``none``, ``static`` (one draw for ever), ``dynamic`` (a draw per visit) or ``threshold``.
        validation: fraction or number of training data.
        test: fraction or number of training data, where the folder has no test files; a tenth by default.
        how: see `Pixels`.

    Raises:
        DataError: for missing, ambiguous, truncated, corrupt or contradictory files.
    """
    return load_idx(
        path,
        name="idx",
        variant=variant,
        validation=validation,
        test=test,
        channels=channels,
        binarization=binarization,
        **how,
    )


def load_idx(
    path: str | Path,
    *,
    name: str,
    validation: float,
    test: float | None,
    variant: str | None = None,
    class_names: Sequence[str] | None = None,
    **how: Any,
) -> Dataset:
    """Load a folder of idx files under a name of its own; `how` goes to `from_arrays`."""
    if isinstance(path, str | Path) and Path(path).expanduser().is_file():
        found = {"train-images": existing_file(path, "an idx file")}
    else:
        found = find_idx(path, variant)
    arrays = {key: _read_array(file, key) for key, file in found.items()}
    if "test-images" in arrays and test is not None:
        raise DataError(
            f"Got test={test} for {path}, which has test files of its own ({found['test-images'].name}), "
            "expected test=null: they are the test data."
        )
    tested: Any = 0.1 if test is None else test
    labels: tuple[Any, ...] = (arrays.get("train-labels"),)
    if "test-images" in arrays:
        tested, labels = arrays["test-images"], (arrays.get("train-labels"), arrays.get("test-labels"))
    with naming(path):
        data = from_arrays(
            arrays["train-images"], validation, tested, labels=labels, name=name, class_names=class_names, **how
        )
    return with_files(data, found.values())


def find_idx(path: str | Path, variant: str | None = None) -> dict[str, Path]:
    """Find the files by their names, in any case, with dots, dashes or underscores.

    Returns:
        Files by ``train-images`` and, where found, ``train-labels``, ``test-images``, ``test-labels``.

    Raises:
        DataError: if there are no training images, or those of several data sets.
    """
    folder = existing_folder(path, "a folder with idx files")
    found: dict[str, dict[str, Path]] = {}
    for file in _walk(folder, _DEPTH):
        match = _NAME.fullmatch(re.sub(r"[._ -]+", "-", file.name.lower()))
        if match is None or (match["kind"] == "images" and "-idx1" in file.name):
            continue
        key = f"{'train' if match['split'] == 'train' else 'test'}-{match['kind']}"
        kept = found.setdefault(match["variant"], {}).get(key)
        if kept is None or kept.suffix == ".gz":  # of a file and its compressed twin, the former reads faster
            found[match["variant"]][key] = file
    if variant is not None:
        wanted = re.sub(r"[._ -]+", "-", variant.lower()).strip("-")
        found = {key: files for key, files in found.items() if key == wanted}
    found = {key: files for key, files in found.items() if "train-images" in files}
    if not found:
        held = sorted(entry.name for entry in folder.iterdir())[:8]
        raise DataError(
            f"Got {folder}{'' if variant is None else f' with variant={variant!r}'}, expected a file such as "
            "train-images-idx3-ubyte or train-images-idx3-ubyte.gz in it (it holds "
            f"{', '.join(held) or 'nothing'})."
        )
    if len(found) > 1:
        raise DataError(
            f"Got {folder}, which holds several data sets, expected one: give variant= one of "
            f"{', '.join(repr(key) for key in sorted(found))}."
        )
    return next(iter(found.values()))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    entries = sorted(folder.iterdir())
    yield from (entry for entry in entries if entry.is_file())
    if depth:
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _walk(entry, depth - 1)


def _read_array(file: Path, key: str) -> np.ndarray[Any, Any]:
    values = read_idx(file)
    if key.endswith("images"):
        if values.ndim == 1:
            raise DataError(f"Got {file} with the shape {values.shape}, expected images: are these the labels?")
        return values[:, None] if values.ndim == 3 else values
    if values.ndim == 2:  # QMNIST: class, then the writer and other details
        values = values[:, 0]
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
