"""A table of your own as comma-separated values."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.binarization import Binarization
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.files import existing_file, naming, with_files
from ppl_vae.datasets.spec import Support
from ppl_vae.datasets.standardization import Standardize
from ppl_vae.datasets.tables import select, shaped
from ppl_vae.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def csv(
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    label: str | None = None,
    delimiter: str = ",",
    header: bool = True,
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
    """Load a table of numbers, ``(columns,)`` per row, from a file of text, compressed or not.

    A first column without a name that counts 0, 1, 2, … is the index that pandas writes, and left out.

    Args:
        path: the file.
        columns: names of the columns of x; all by default.
        exclude: names of columns to leave out.
        label: name of the column of labels, numbers or text, which is then no part of x.
        delimiter: between the values of a row.
        header: whether the first line names the columns; if not, they are named 0, 1, ….
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
    file = existing_file(path, "a csv file")
    frame = _read(file, delimiter, header)
    exclude = [str(name) for name in exclude]
    unnamed = str(frame.columns[0])
    if header and unnamed == "Unnamed: 0" and not columns and frame.iloc[:, 0].tolist() == list(range(len(frame))):
        exclude.append(unnamed)
    x, labels, names = select(frame, file, columns, exclude, label, first_line=2 if header else 1)
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
            name="csv",
            feature_names=names if shape is None else None,
        )
    return with_files(data, [file])


def _read(file: Path, delimiter: str, header: bool) -> pd.DataFrame:
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                file,
                sep=delimiter,
                header=0 if header else None,
                skipinitialspace=True,
                low_memory=False,
                index_col=False,
            )
    except pd.errors.EmptyDataError:
        raise DataError(f"Got {file} without any value, expected a table with a row of names.") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(
            f"Got {file}, whose rows are not all as long as the first ({' '.join(str(error).split())}), "
            "expected a table: mend the row, or choose another delimiter."
        ) from None
    except (UnicodeDecodeError, EOFError, zlib.error, OSError, ValueError) as error:
        raise DataError(
            f"Got {file}, which cannot be read as text ({error}), expected values separated by {delimiter!r} "
            "in UTF-8 (compressed files end in .gz, .zip, .bz2 or .xz)."
        ) from None
    only = str(frame.columns[0])
    for other in (";", "\t", ","):
        if frame.shape[1] == 1 and other != delimiter and other in only:
            raise DataError(
                f"Got one column {only!r} from {file}, expected several: they seem to be separated by "
                f"{other!r}, so give delimiter={other!r}."
            )
    if header and all(_is_number(name) for name in frame.columns):
        raise DataError(
            f"Got numbers ({', '.join(map(str, frame.columns[:3]))}, …) as the names of the columns of "
            f"{file}, expected text: if the first line holds data too, give header=false."
        )
    return frame


def _is_number(name: object) -> bool:
    try:
        float(str(name))
    except ValueError:
        return False
    return True
