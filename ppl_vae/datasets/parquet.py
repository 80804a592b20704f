"""A table of your own in parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.binarization import Binarization
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.files import existing_file, naming, with_files
from ppl_vae.datasets.spec import Support
from ppl_vae.datasets.standardization import Standardize
from ppl_vae.datasets.tables import select, shaped
from ppl_vae.errors import DataError


def parquet(
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    label: str | None = None,
    shape: Sequence[int] | None = None,
    support: Support | None = None,
    levels: int | None = None,
    binarization: Binarization = "none",
    standardization: Standardize = "zscore",
    validation: float = 0.1,
    test: float = 0.1,
    with_labels: bool = False,
    dtype: torch.dtype | str | None = None,
    seed: int = 0,
) -> Dataset:
    """Load a table of numbers, ``(columns,)`` per row, from a parquet file; an index of pandas is no column.

    Args:
        path: the file.
        columns: names of the columns of x; all by default.
        exclude: names of columns to leave out.
        label: name of the column of labels, numbers or text, which is then no part of x.
        shape: of a datum, ``(1, 28, 28)`` for rows of 784 pixels; one axis of columns by default.
        support: where x lives before it is standardized; by default its values tell, see `find_support`.
        levels: x are grey levels 0, …, levels − 1; 256 for 8-bit pixels.
        binarization: ``none``, ``static``, ``dynamic`` or ``threshold``, for grey levels or values in [0, 1].
        standardization: ``zscore`` (per column) or ``none``.
        validation: fraction or number of rows.
        test: fraction or number of rows.
        with_labels: hand the labels to the model too.
        dtype: of the batches.
        seed: of the splits.

    Raises:
        DataError: for a damaged file, names that are not there, missing values, text, or columns that never
            vary.
    """
    import pandas as pd

    file = existing_file(path, "a parquet file")
    try:
        frame = pd.read_parquet(file)
    except ImportError:
        raise DataError(
            f"Got {file}, but pyarrow is not installed, expected it for parquet: pip install 'ppl-vae[parquet]'."
        ) from None
    except Exception as error:  # damaged metadata break pyarrow and pandas in many ways
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(
            f"Got {file}, which is truncated, corrupt or no parquet file ({reason}), "
            "expected a whole one: copy or download it again."
        ) from None
    x, labels, names = select(frame, file, columns, [str(name) for name in exclude], label)
    with naming(file):
        data = from_arrays(
            shaped(x, shape),
            validation,
            test,
            labels=labels,
            support=support,
            levels=levels,
            binarization=binarization,
            standardization=standardization,
            with_labels=with_labels,
            dtype=dtype,
            seed=seed,
            name="parquet",
            feature_names=names if shape is None else None,
        )
    return with_files(data, [file])
