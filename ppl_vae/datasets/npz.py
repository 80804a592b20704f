"""An npz archive of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.binarization import Binarization
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.dequantization import Dequantization
from ppl_vae.datasets.files import naming, with_files
from ppl_vae.datasets.layout import Channels
from ppl_vae.datasets.npy_format import Archive
from ppl_vae.datasets.spec import Support
from ppl_vae.datasets.standardization import Standardize
from ppl_vae.datasets.transform import Scale
from ppl_vae.errors import DataError

# The names that archives in the wild use, most explicit first; case does not matter.
_NAMES = {
    "x": ("x_train", "train_x", "train_images", "images_train", "train", "x", "images", "imgs", "data", "arr_0"),
    "x_validation": ("x_validation", "x_val", "x_valid", "val_images", "validation", "valid", "val"),
    "x_test": ("x_test", "test_x", "test_images", "images_test", "test"),
    "labels": ("y_train", "train_y", "train_labels", "labels_train", "y", "labels", "label", "targets"),
    "labels_validation": ("y_validation", "y_val", "y_valid", "val_labels"),
    "labels_test": ("y_test", "test_y", "test_labels", "labels_test"),
}


def npz(
    path: str | Path,
    *,
    x: str | None = None,
    labels: str | None = None,
    x_validation: str | None = None,
    labels_validation: str | None = None,
    x_test: str | None = None,
    labels_test: str | None = None,
    support: Support | None = None,
    levels: int | None = None,
    channels: Channels = "auto",
    binarization: Binarization = "none",
    dequantization: Dequantization = "none",
    scaling: Scale = "unit",
    standardization: Standardize = "none",
    validation: float | None = None,
    test: float | None = None,
    with_labels: bool = False,
    dtype: torch.dtype | str | None = None,
    seed: int = 0,
) -> Dataset:
    """Load arrays from an npz archive; no pickled object is ever loaded.

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
        support: where x lives; by default its dtype and values tell, see `find_support`.
        levels: x are grey levels 0, …, levels − 1; 256 for uint8.
        channels: where the colour channels of images are, see `channels_first`.
        binarization: ``none``, ``static``, ``dynamic`` or ``threshold``.
        dequantization: ``none`` or ``uniform``.
        scaling: ``unit`` or ``none``, see `from_arrays`.
        standardization: ``none`` or ``zscore``.
        validation: fraction or number of training data; a tenth by default.
        test: fraction or number of training data; a tenth by default.
        with_labels: hand the labels to the model too.
        dtype: of the batches.
        seed: of the splits.

    Raises:
        DataError: for a damaged archive, a name that is not in it, or data that do not fit.
    """
    archive = Archive(path)
    asked = {
        "x": x,
        "x_validation": x_validation,
        "x_test": x_test,
        "labels": labels,
        "labels_validation": labels_validation,
        "labels_test": labels_test,
    }
    names = {role: _find(archive, role, name) for role, name in asked.items()}
    if names["x"] is None:
        if len(archive.members) > 1:
            raise DataError(
                f"Got {archive.file} with the arrays {', '.join(archive.members)}, expected to know which "
                "one is the data: say x=NAME (dataset.x=NAME), and labels=NAME if there are any."
            )
        names["x"] = next(iter(archive.members))
    arrays: dict[str, Any] = {role: archive[name] for role, name in names.items() if name is not None}
    shares = {"validation": validation, "test": test}
    given, codes = {}, [arrays.get("labels")]
    for split, share in shares.items():
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
            support=support,
            levels=levels,
            channels=channels if arrays["x"].dtype == "uint8" or channels != "auto" else "keep",
            binarization=binarization,
            dequantization=dequantization,
            scaling=scaling,
            standardization=standardization,
            with_labels=with_labels,
            dtype=dtype,
            seed=seed,
            name="npz",
        )
    return with_files(data, [archive.file])


def _find(archive: Archive, role: str, name: str | None) -> str | None:
    if name is not None:
        if name not in archive.members:
            raise DataError(
                f"Got {role}={name!r}, which {archive.file} does not hold, expected one of "
                f"{', '.join(archive.members)}."
            )
        return name
    lower = {key.lower(): key for key in archive.members}
    return next((lower[usual] for usual in _NAMES[role] if usual in lower), None)
