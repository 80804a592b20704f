"""An npy file of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.binarization import Binarization
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.dequantization import Dequantization
from ppl_vae.datasets.files import existing_file, naming, with_files
from ppl_vae.datasets.layout import Channels
from ppl_vae.datasets.npy_format import read_npy
from ppl_vae.datasets.spec import Support
from ppl_vae.datasets.standardization import Standardize
from ppl_vae.datasets.transform import Scale


def npy(
    path: str | Path,
    *,
    labels: str | Path | None = None,
    support: Support | None = None,
    levels: int | None = None,
    channels: Channels = "auto",
    binarization: Binarization = "none",
    dequantization: Dequantization = "none",
    scaling: Scale = "unit",
    standardization: Standardize = "none",
    validation: float = 0.1,
    test: float = 0.1,
    with_labels: bool = False,
    dtype: torch.dtype | str | None = None,
    seed: int = 0,
) -> Dataset:
    """Load one array, ``(data, …)``, from an npy file; no pickled object is ever loaded.

    Args:
        path: the file.
        labels: another npy file with one label per datum.
        support: where x lives; by default its dtype and values tell, see `find_support`.
        levels: x are grey levels 0, …, levels − 1; 256 for uint8.
        channels: where the colour channels of images are, see `channels_first`.
        binarization: ``none``, ``static``, ``dynamic`` or ``threshold``.
        dequantization: ``none`` or ``uniform``.
        scaling: ``unit`` or ``none``, see `from_arrays`.
        standardization: ``none`` or ``zscore``.
        validation: fraction or number of data.
        test: fraction or number of data.
        with_labels: hand the labels to the model too.
        dtype: of the batches.
        seed: of the splits.

    Raises:
        DataError: for a damaged file, or data that do not fit.
    """
    x: Any = read_npy(path)
    with naming(path):
        data = from_arrays(
            x,
            validation,
            test,
            labels=None if labels is None else read_npy(labels),
            support=support,
            levels=levels,
            channels=channels if x.dtype == "uint8" or channels != "auto" else "keep",
            binarization=binarization,
            dequantization=dequantization,
            scaling=scaling,
            standardization=standardization,
            with_labels=with_labels,
            dtype=dtype,
            seed=seed,
            name="npy",
        )
    return with_files(data, [existing_file(file, "an npy file") for file in (path, labels) if file is not None])
