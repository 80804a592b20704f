"""Files of your own in numpy's formats, npz and npy: read without pickle and without trusting a header."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.convert import Channels
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.files import check_fits, existing_file, naming, with_files
from ppl_vae.datasets.keywords import source
from ppl_vae.datasets.preparation import Preparation
from ppl_vae.datasets.sparse import is_sparse, read_sparse
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
    check_fits(
        expected,
        what,
        "An npy file can be used without reading it: pv.datasets.from_arrays(numpy.load(path, mmap_mode='r')).",
    )
    values = bytearray(expected)
    filled, view = 0, memoryview(values)
    while filled < expected and (got := stream.readinto(view[filled:])):
        filled += got
    if filled < expected:
        raise DataError(f"Got {what} with {filled} bytes of values, expected {expected}: the file is truncated.")
    flat = np.frombuffer(values, dtype, count=math.prod(shape)) if expected else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


# The names that archives in the wild use, most explicit first; case does not matter.
_NAMES = {
    "x": ("x_train", "train_x", "train_images", "images_train", "train", "x", "images", "imgs", "data", "arr_0"),
    "x_validation": ("x_validation", "x_val", "x_valid", "val_images", "validation", "valid", "val"),
    "x_test": ("x_test", "test_x", "test_images", "images_test", "test"),
    "labels": ("y_train", "train_y", "train_labels", "labels_train", "y", "labels", "label", "targets"),
    "labels_validation": ("y_validation", "y_val", "y_valid", "val_labels"),
    "labels_test": ("y_test", "test_y", "test_labels", "labels_test"),
}


@source
def npz(
    path: str | Path,
    *,
    x: str | None = None,
    labels: str | None = None,
    x_validation: str | None = None,
    labels_validation: str | None = None,
    x_test: str | None = None,
    labels_test: str | None = None,
    channels: Channels = "auto",
    validation: float | None = None,
    test: float | None = None,
    **how: Unpack[Preparation],
) -> Dataset:
    """Load arrays from an npz archive; no pickled object is ever loaded.

    A sparse matrix that ``scipy.sparse.save_npz`` wrote is read as the matrix that it is, rows first.
    Arrays are found by their usual names (``x_train``, ``y_train``, ``x_test``, ``images``, ``labels`` and
    the like); an archive of one array needs no name at all.

    Args:
        path: the file.
        x: name of the array of the data, or of the training data.
        labels: name of their labels.
        x_validation: name of the validation data; without them, `validation` of the training data.
        labels_validation: name of their labels.
        x_test: name of the test data; without them, `test` of the training data.
        labels_test: name of their labels.
        channels: where the colour channels of images are, see `channels_first`.
        validation: fraction or number of training data; a tenth by default.
        test: fraction or number of training data; a tenth by default.
        how: see `Preparation`.

    Raises:
        DataError: for a damaged archive, a name that is not in it, or data that do not fit.
    """
    asked = {
        "x": x,
        "x_validation": x_validation,
        "x_test": x_test,
        "labels": labels,
        "labels_validation": labels_validation,
        "labels_test": labels_test,
    }
    archive: Archive | _Whole = Archive(path)
    if is_sparse(archive.members):
        if wrong := [name for name in asked.values() if name]:
            raise DataError(
                f"Got {wrong[0]!r} of {archive.file}, which holds one sparse matrix, expected no name: its rows are "
                "the data. Labels can be given with pv.datasets.from_arrays(scipy.sparse.load_npz(path), labels=…)."
            )
        archive = _Whole(
            archive.file, read_sparse({name: archive[name] for name in archive.members}, str(archive.file))
        )
    names = {role: _find(archive, role, name) for role, name in asked.items()}
    if names["x"] is None:
        if len(archive.members) > 1:
            raise DataError(
                f"Got {archive.file} with the arrays {', '.join(archive.members)}, expected to know which "
                "one is the data: say x=NAME (dataset.x=NAME), and labels=NAME if there are any."
            )
        names["x"] = next(iter(archive.members))
    arrays: dict[str, Any] = {role: archive[name] for role, name in names.items() if name is not None}
    given, codes = {}, [arrays.get("labels")]
    for split, share in {"validation": validation, "test": test}.items():
        found = arrays.get(f"x_{split}")
        if found is not None and share is not None:
            raise DataError(
                f"Got {split}={share} for {archive.file}, whose array {names[f'x_{split}']!r} is the {split} "
                f"data, expected {split}=null."
            )
        given[split] = found if found is not None else 0.1 if share is None else share
        codes += [arrays.get(f"labels_{split}")] if found is not None else []
    with naming(archive.file):
        data = from_arrays(
            arrays["x"],
            given["validation"],
            given["test"],
            labels=tuple(codes),
            channels=_channels(channels, arrays["x"]),
            name="npz",
            **how,
        )
    return with_files(data, [archive.file])


@source
def npy(
    path: str | Path,
    *,
    labels: str | Path | None = None,
    channels: Channels = "auto",
    validation: float = 0.1,
    test: float = 0.1,
    **how: Unpack[Preparation],
) -> Dataset:
    """Load one array, ``(data, …)``, from an npy file; no pickled object is ever loaded.

    Args:
        path: the file.
        labels: another npy file with one label per datum.
        channels: where the colour channels of images are, see `channels_first`.
        validation: fraction or number of data.
        test: fraction or number of data.
        how: see `Preparation`.

    Raises:
        DataError: for a damaged file, or data that do not fit.
    """
    x: Any = read_npy(path)
    with naming(path):
        codes = None if labels is None else read_npy(labels)
        data = from_arrays(x, validation, test, labels=codes, channels=_channels(channels, x), name="npy", **how)
    return with_files(data, [existing_file(file, "an npy file") for file in (path, labels) if file is not None])


def _channels(channels: Channels, x: np.ndarray[Any, Any]) -> Channels:
    """Only of pixels are channels looked for: other arrays have axes of any meaning."""
    return "keep" if channels == "auto" and x.dtype != "uint8" else channels


class _Whole:
    """One array in the place of an archive."""

    def __init__(self, file: Path, array: np.ndarray[Any, Any]) -> None:
        self.file, self.members = file, {"x": None}
        self.array = array

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        return self.array


def _find(archive: Archive | _Whole, role: str, name: str | None) -> str | None:
    if name is not None:
        if name not in archive.members:
            raise DataError(
                f"Got {role}={name!r}, which {archive.file} does not hold, expected one of "
                f"{', '.join(archive.members)}."
            )
        return name
    lower = {key.lower(): key for key in archive.members}
    return next((lower[usual] for usual in _NAMES[role] if usual in lower), None)
