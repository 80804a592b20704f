"""The one way from files to a data set: a format finds and reads arrays by their parts, the rest is here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.files import naming, sha256
from ppl_vae.errors import DataError

UNREAD = "Values of an npy, parquet or arrow file can be left in it: give mmap=true (dataset.mmap=true)."
"""What to do with values that are larger than memory."""


def only_unread(mmap: bool, **given: int | None) -> None:
    """Refuse what says how data are read from a file, where they are not left in it.

    Raises:
        DataError: naming the keyword; also for what is no whole number of at least 1, and mmap that is no boolean.
    """
    if not isinstance(mmap, bool):
        raise DataError(f"Got mmap={mmap!r}, expected true or false.")
    for key, value in given.items():
        if value is not None and not mmap:
            raise DataError(
                f"Got {key}={value} with mmap=false, expected mmap=true beside it: data in memory are shuffled as a "
                "whole."
            )
        if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or value < 1):
            raise DataError(f"Got {key}={value!r}, expected a whole number of at least 1.")


def from_files(
    name: str,
    path: str | Path,
    arrays: Mapping[str, Any],
    files: Iterable[Path],
    *,
    validation: float | None,
    test: float | None,
    **how: Any,
) -> Dataset:
    """Make a data set of arrays that come from files, and record these in its provenance, with their checksums.

    Args:
        name: of the data set.
        path: what the user named.
        arrays: the data as ``x``, or by name with what goes beside them; ``x_validation`` and ``x_test`` where the
            files have these splits; ``labels``, ``labels_validation`` and ``labels_test`` where they have them.
        files: all that were read.
        validation: fraction or number of the training data, where there are no validation data; None is a tenth.
        test: the same for test.
        how: see `from_arrays`.

    Raises:
        DataError: for a share of the training data in the place of data that are there, and what `from_arrays` refuses.
    """
    splits: dict[str, Any] = {}
    labels = [arrays.get("labels")]
    for split, share in {"validation": validation, "test": test}.items():
        own = arrays.get(f"x_{split}")
        if own is None:
            splits[split] = 0.1 if share is None else share
            continue
        if share is not None:
            raise DataError(
                f"Got {split}={share} for {path}, which has {split} data of its own, expected {split}=null."
            )
        splits[split] = own
        labels.append(arrays.get(f"labels_{split}"))
    with naming(path):
        data = from_arrays(arrays["x"], labels=tuple(labels), name=name, **splits, **how)
    return replace(data, provenance={**data.provenance, "files": {str(file): sha256(file) for file in files}})
