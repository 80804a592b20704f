"""Zalando's articles of clothing: 60,000 + 10,000 images, 28×28, in the files of MNIST."""

from __future__ import annotations

from pathlib import Path

import torch

from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.idx import load_idx
from ppl_vae.datasets.mnist import locate
from ppl_vae.datasets.policies import Binarization, Dequantization, Standardize
from ppl_vae.datasets.transform import Scale

INSTALLED = ("/usr/share/datasets/fashion-mnist", "/usr/share/dataset-fashion-mnist")  # Debian's package
MIRRORS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",)
FILES = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def fashion_mnist(
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
    """Load Fashion-MNIST, ``(1, 28, 28)``, from Debian's ``dataset-fashion-mnist``, a folder, or its public home.

    Args:
        path: folder with the four idx files, compressed or not. None looks for Debian's package, then in the
            user's cache, see `cache_folder`.
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
        Xiao, Rasul and Vollgraf (2017), Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
            Algorithms, https://arxiv.org/abs/1708.07747
    """
    return load_idx(
        locate("fashion_mnist", path, download, FILES, MIRRORS, INSTALLED),
        name="fashion_mnist",
        class_names=CLASSES,
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
