"""Files of your own in numpy's formats, npz and npy: read without pickle and without trusting a header."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Unpack

import numpy as np

from ppl_vae.datasets.convert import Channels
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.files import MAX_EXPANSION, check_fits, check_whole, existing_file, naming, reading
from ppl_vae.datasets.keywords import source
from ppl_vae.datasets.mapped import Mapped
from ppl_vae.datasets.preparation import Preparation
from ppl_vae.datasets.reader import UNREAD, from_files, only_unread
from ppl_vae.errors import DataError


def read_npy(path: str | Path) -> np.ndarray[Any, Any]:
    """Read an npy file.

    Raises:
        DataError: for a file that is missing, no npy, truncated, or holds Python objects.
    """
    file = existing_file(path, "an npy file")
    with reading(file, "npy file"), file.open("rb") as stream:
        return _read(stream, file.stat().st_size, str(file))


class Archive(Mapping[str, np.ndarray[Any, Any]]):
    """The arrays of an npz file by name, each read when it is asked for.

    Args:
        path: the file.

    Raises:
        DataError: for a file that is missing, truncated or no npz, and where its arrays are damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.file = existing_file(path, "an npz archive")
        advice = "copy or download it again (for a single array use dataset=npy)"
        with reading(self.file, "npz archive", advice), zipfile.ZipFile(self.file) as archive:
            self.members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
        if not self.members:
            raise DataError(f"Got {self.file}, which holds no arrays, expected at least one.")

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        member, what = self.members[name], f"{self.file}[{name!r}]"
        if member.file_size > MAX_EXPANSION * (member.compress_size + 64):
            raise DataError(
                f"Got {what}, which declares {member.file_size} bytes in {member.compress_size} compressed "
                "ones, expected a size that can be: the archive is damaged."
            )
        with reading(what, "npy array"), zipfile.ZipFile(self.file) as archive, archive.open(member) as stream:
            return _read(stream, member.file_size, what)


def map_npy(path: str | Path, block: int | None = None, window: int | None = None) -> Mapped | np.ndarray[Any, Any]:
    """Map an npy file: its rows are read when they are asked for. One that holds no rows is read.

    Args:
        path: the file.
        block: rows of a block, see `Mapped`.
        window: blocks in memory.

    Raises:
        DataError: see `read_npy`.
    """
    file = existing_file(path, "an npy file")
    with reading(file, "npy file"), file.open("rb") as stream:
        shape, _ = _checked(stream, file.stat().st_size, str(file))
        if not math.prod(shape) or not shape:
            return _read(stream, file.stat().st_size, str(file))
        return Mapped(np.load(file, mmap_mode="r", allow_pickle=False), file, block, window)


def _read(stream: IO[bytes], size: int, what: str) -> np.ndarray[Any, Any]:
    _, declared = _checked(stream, size, what)
    check_fits(declared, what, UNREAD)
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def _checked(stream: IO[bytes], size: int, what: str) -> tuple[tuple[int, ...], int]:
    """The shape and the bytes of the values of an array, from its header."""
    stream.seek(0)
    npy = np.lib.format
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(stream)]
    shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        raise DataError(
            f"Got {what} of dtype {dtype}, which holds pickled Python objects, expected numbers: objects are never "
            "loaded, since they can run code; save a plain array with numpy.save(…, allow_pickle=False)."
        )
    declared = math.prod(shape) * dtype.itemsize
    check_whole(what, size - stream.tell(), declared, shape)
    return shape, declared


def read_sparse(arrays: Mapping[str, np.ndarray[Any, Any]], what: object) -> Any:
    """Give the matrix that `scipy.sparse.save_npz` wrote.

    Args:
        arrays: of the archive, by name.
        what: the file, for messages.

    Raises:
        DataError: for another format than csr, csc and coo, and arrays that do not fit together.

    Example:
        >>> parts = {"format": np.array(b"csr"), "shape": np.array([2, 3]), "data": np.array([7, 8])}
        >>> matrix = read_sparse({**parts, "indices": np.array([2, 0]), "indptr": np.array([0, 1, 2])}, "x.npz")
        >>> matrix.toarray().tolist()
        [[0, 0, 7], [8, 0, 0]]
    """
    import scipy.sparse

    with reading(what, "sparse matrix of numbers"):
        kind = str(arrays["format"].astype(str))
        if kind not in ("csr", "csc", "coo"):
            raise DataError(
                f"Got {what} with a sparse matrix of format {kind!r}, expected csr, csc or coo: .tocsr() it."
            )
        places = [arrays[key] for key in (("row", "col") if kind == "coo" else ("indices", "indptr"))]
        rows, columns = arrays["shape"].tolist()
        data = arrays["data"]
        if data.dtype.kind not in "biuf" or any(p.dtype.kind not in "iu" for p in (arrays["shape"], *places)):
            raise TypeError(f"values of {data.dtype} at places of {places[0].dtype} and {places[1].dtype}")
        data = data.astype(np.float32) if data.dtype == np.float16 else data  # which scipy cannot make dense
        parts = (data, tuple(places)) if kind == "coo" else (data, *places)
        matrix = getattr(scipy.sparse, f"{kind}_array")(parts, shape=(rows, columns))
        if kind != "coo":
            matrix.check_format(full_check=True)
        return matrix


def _is_sparse(names: Collection[str]) -> bool:
    kinds = ({"indices", "indptr"}, {"row", "col"}, {"offsets"})
    return any(kind | {"format", "shape", "data"} <= set(names) for kind in kinds)


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
    fields: Sequence[str] = (),
    categories: Sequence[str] = (),
    standardize_fields: Sequence[str] = (),
    lengths: str | None = None,
    time: int | None = None,
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
        fields: names of arrays that the programs get beside x, `model(x, age)`; text is a category. Where the archive
            has test data, those of `age` are `age_test`, and likewise of validation data.
        categories: names of those of them that are integers and categories, too.
        standardize_fields: names of those of them that networks see standardized, see `from_arrays`.
        lengths: name of the lengths of sequences ``(data, time, features)``, whose further steps are no data; those of
            test data are `lengths_test` if it is `lengths`, and likewise of validation data.
        time: steps that sequences are padded to; by default the longest there is.
        channels: where the colour channels of images are, see `channels_first`.
        validation: fraction or number of training data; a tenth by default.
        test: fraction or number of training data; a tenth by default.
        how: see `Preparation`.

    Raises:
        DataError: for a damaged archive, a name that is not in it, or data that do not fit.
    """
    archive = Archive(path)
    names = (x, x_validation, x_test, labels, labels_validation, labels_test)
    asked = {part: name for part, name in zip(_NAMES, names, strict=True) if name is not None}
    if _is_sparse(archive):
        if asked or fields:
            name = [*asked.values(), *fields][0]
            raise DataError(
                f"Got {name!r} of {archive.file}, which holds one sparse matrix, expected no name: its "
                "rows are the data. Labels can be given with from_arrays(scipy.sparse.load_npz(path), labels=…)."
            )
        arrays: dict[str, Any] = {"x": read_sparse(archive, archive.file)}
    else:
        arrays = {part: archive[name] for part, name in _find(archive, asked).items()}
    channels = _channels(channels, arrays["x"])
    for part in ("x", "x_validation", "x_test") if fields else ():
        if part in arrays:
            end = part.removeprefix("x")
            found = _find(archive, {f"fields, {name}": f"{name}{end}" for name in fields} | asked)
            arrays[part] = {"x": arrays[part], **{n: archive[found[f"fields, {n}"]] for n in fields}}
    sizes = None
    if lengths is not None:
        channels = "keep"
        ends = [part.removeprefix("x") for part in ("x", "x_validation", "x_test") if part in arrays]
        sizes = tuple(archive[_find(archive, {"lengths": f"{lengths}{end}"} | asked)["lengths"]] for end in ends)
    told: Any = {
        **how,
        "lengths": sizes,
        "time": time,
        "channels": channels,
        "categories": categories,
        "standardize_fields": standardize_fields,
    }
    return from_files("npz", path, arrays, [archive.file], validation=validation, test=test, **told)


@source
def npy(
    path: str | Path,
    *,
    labels: str | Path | None = None,
    channels: Channels = "auto",
    validation: float = 0.1,
    test: float = 0.1,
    mmap: bool = False,
    shuffle_block: int | None = None,
    shuffle_window: int | None = None,
    **how: Unpack[Preparation],
) -> Dataset:
    """Load one array, ``(data, …)``, from an npy file; no pickled object is ever loaded.

    Args:
        path: the file.
        labels: another npy file with one label per datum.
        mmap: leave the data in the file, and read those of a batch; for files larger than memory.
        shuffle_block: with mmap, how many data are read together; by default as many as come to 1 MiB.
        shuffle_window: with mmap, how many blocks are in memory, whose data are shuffled together; by default as many
            as come to 64 MiB.
        channels: where the colour channels of images are, see `channels_first`.
        validation: fraction or number of data.
        test: fraction or number of data.
        how: see `Preparation`.

    Raises:
        DataError: for a damaged file, or data that do not fit.
    """
    only_unread(mmap, shuffle_block=shuffle_block, shuffle_window=shuffle_window)
    x = map_npy(path, shuffle_block, shuffle_window) if mmap else read_npy(path)
    arrays, files = {"x": x}, [existing_file(path, "an npy file")]
    if labels is not None:
        with naming(path):
            arrays["labels"] = read_npy(labels)
            files.append(existing_file(labels, "an npy file"))
    channels = _channels(channels, arrays["x"])
    return from_files("npy", path, arrays, files, validation=validation or 0, test=test or 0, channels=channels, **how)


def _channels(channels: Channels, x: Any) -> Channels:
    """Only of pixels are channels looked for: other arrays have axes of any meaning."""
    return "keep" if channels == "auto" and x.dtype != "uint8" else channels


def _find(archive: Archive, asked: Mapping[str, str]) -> dict[str, str]:
    """Give the names of the arrays that are there by the part that they play."""
    for part, name in asked.items():
        if name not in archive:
            raise DataError(
                f"Got {part}={name!r}, which {archive.file} does not hold, expected one of {', '.join(archive)}."
            )
    lower = {name.lower(): name for name in archive}
    usual = {part: next((lower[name] for name in names if name in lower), None) for part, names in _NAMES.items()}
    if len(archive) == 1:
        usual["x"] = next(iter(archive))
    found = {part: name for part, name in {**usual, **asked}.items() if name is not None}
    if "x" not in found:
        raise DataError(
            f"Got {archive.file} with the arrays {', '.join(archive)}, expected to know which one is the data: say "
            "x=NAME (dataset.x=NAME), and labels=NAME if there are any."
        )
    return found
