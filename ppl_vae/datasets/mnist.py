"""The handwritten digits of LeCun, Cortes and Burges: 60,000 + 10,000 images, 28×28."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.download import Opener, cache_folder, fetch_all, open_url
from ppl_vae.datasets.idx import load_idx
from ppl_vae.datasets.policies import Binarization, Dequantization, Standardize
from ppl_vae.datasets.transform import Scale
from ppl_vae.errors import DataError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
FILES = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def mnist(
    path: str | Path | None = None,
    *,
    download: bool | None = None,
    binarization: Binarization = "dynamic",
    dequantization: Dequantization = "none",
    scaling: Scale = "unit",
    standardization: Standardize = "none",
    validation: float = 0.1,
    with_labels: bool = False,
    dtype: torch.dtype | str | None = None,
    seed: int = 0,
) -> Dataset:
    """Load MNIST, ``(1, 28, 28)``, from a folder, the user's cache or its public mirrors.

    Args:
        path: folder with the four idx files, compressed or not. None is the user's cache, see `cache_folder`.
        download: whether files that are missing are fetched, and their checksums verified; by default into
            the cache only, not into a folder that was named.
        binarization: ``none``, ``static``, ``dynamic`` or ``threshold``.
        dequantization: ``none`` or ``uniform``.
        scaling: ``unit`` or ``none``, see `from_arrays`.
        standardization: ``none`` or ``zscore``.
        validation: fraction or number of training data.
        with_labels: hand the labels to the model too.
        dtype: of the batches.
        seed: of the splits.

    Raises:
        DataError: for files that cannot be had, or are damaged.

    References:
        LeCun, Bottou, Bengio and Haffner (1998), Gradient-Based Learning Applied to Document Recognition,
            https://doi.org/10.1109/5.726791
    """
    return load_idx(
        locate("mnist", path, download, FILES, MIRRORS),
        name="mnist",
        class_names=[str(digit) for digit in range(10)],
        validation=validation,
        test=None,
        binarization=binarization,
        dequantization=dequantization,
        scaling=scaling,
        standardization=standardization,
        with_labels=with_labels,
        dtype=dtype,
        seed=seed,
    )


def locate(
    name: str,
    path: str | Path | None,
    download: bool | None,
    files: Mapping[str, str],
    mirrors: Sequence[str],
    installed: Sequence[str] = (),
    opener: Opener = open_url,
) -> Path:
    """Give the folder that has a public data set: the one named, an installed one, the cache, or a download.

    Args:
        name: of the data set, and of its folder in the cache.
        path: the folder that the user named.
        download: see `mnist`.
        files: SHA-256 checksums of the public files by name.
        mirrors: where they are.
        installed: folders of system packages.
        opener: opens an address.

    Raises:
        DataError: if the files are nowhere and may not be, or cannot be, downloaded.
    """
    if path is not None:
        return fetch_all(files, mirrors, Path(path).expanduser().absolute(), opener) if download else Path(path)
    cached = cache_folder(name)
    for folder in (Path(place) for place in installed):
        if _complete(folder, files):
            return folder
    if download is False and not _complete(cached, files):
        places: Any = ", ".join([*installed, str(cached)])
        raise DataError(
            f"Got download=False and no {name} in {places}, expected a folder that has it: name one by path=."
        )
    return cached if _complete(cached, files) else fetch_all(files, mirrors, cached, opener)


def _complete(folder: Path, files: Mapping[str, str]) -> bool:
    return all((folder / name).is_file() or (folder / name).with_suffix("").is_file() for name in files)
