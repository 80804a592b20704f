"""Any folder of the MNIST family: MNIST, Fashion-MNIST, KMNIST, EMNIST, QMNIST, or one of your own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.files import existing_file, existing_folder, naming, with_files
from ppl_vae.datasets.idx_format import read_idx
from ppl_vae.datasets.layout import Channels
from ppl_vae.datasets.policies import Binarization, Dequantization, Standardize
from ppl_vae.datasets.transform import Scale
from ppl_vae.errors import DataError

# train-images-idx3-ubyte.gz, train-images.idx3-ubyte, emnist-letters-test-labels-idx1-ubyte, TRAIN_IMAGES.idx, …
_NAME = re.compile(r"(?P<variant>.*?)-?(?P<split>train|t10k|test)-(?P<kind>images|labels)(-idx\d?)?(-\w+?)?(-gz)?")
_DEPTH = 2  # torchvision keeps them in MNIST/raw, other archives in a folder per file


def idx(
    path: str | Path,
    *,
    variant: str | None = None,
    channels: Channels = "auto",
    binarization: Binarization = "dynamic",
    dequantization: Dequantization = "none",
    scaling: Scale = "unit",
    standardization: Standardize = "none",
    validation: float = 0.1,
    test: float | None = None,
    with_labels: bool = False,
    dtype: torch.dtype | str | None = None,
    seed: int = 0,
) -> Dataset:
    """Load a folder of idx files, compressed or not: ``train-images…``, and if there are, labels and test files.

    Args:
        path: the folder; or one idx file of images.
        variant: what the file names begin with, where a folder holds several data sets (``emnist-letters``).
        channels: of images with four axes, see `channels_first`.
        binarization: ``none``, ``static``, ``dynamic`` or ``threshold``.
        dequantization: ``none`` or ``uniform``.
        scaling: ``unit`` or ``none``, see `from_arrays`.
        standardization: ``none`` or ``zscore``.
        validation: fraction or number of training data.
        test: fraction or number of training data, where the folder has no test files; a tenth by default.
        with_labels: hand the labels to the model too.
        dtype: of the batches.
        seed: of the splits.

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
        dequantization=dequantization,
        scaling=scaling,
        standardization=standardization,
        with_labels=with_labels,
        dtype=dtype,
        seed=seed,
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
    arrays = {key: _read(file, key) for key, file in found.items()}
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


def _read(file: Path, key: str) -> np.ndarray[Any, Any]:
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
