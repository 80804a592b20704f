"""MNIST and Fashion-MNIST, 60,000 + 10,000 images of 28×28 each, in files of the same names: found, or fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.download import Opener, fetch_all, open_url
from ppl_vae.datasets.idx import load_idx
from ppl_vae.datasets.keywords import source
from ppl_vae.datasets.preparation import PIXELS, Pixels
from ppl_vae.errors import DataError
from ppl_vae.files.cache import cache_folder


@dataclass(frozen=True)
class Published:
    """A public data set.

    Args:
        name: of the data set, and of its folder in the cache.
        files: SHA-256 checksums by file name.
        mirrors: addresses of folders that have the files.
        installed: folders of system packages.
        classes: names of the labels.
    """

    name: str
    files: Mapping[str, str]
    mirrors: tuple[str, ...]
    installed: tuple[str, ...]
    classes: tuple[str, ...]

    def in_folder(self, folder: Path) -> bool:
        """Tell whether a folder has all files, compressed or not."""
        return all((folder / name).is_file() or (folder / name).with_suffix("").is_file() for name in self.files)


DIGITS = Published(
    "mnist",
    {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
    (),
    tuple("0123456789"),
)
FASHION = Published(
    "fashion_mnist",
    {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
    ("/usr/share/datasets/fashion-mnist", "/usr/share/dataset-fashion-mnist"),  # Debian's package
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


class Fetched(Pixels, total=False):
    """Keywords of every source that is found, or fetched.

    Args:
        download: whether files that are missing are fetched, and their checksums verified; by default into the cache
            only, see `cache_folder`, not into a folder that was named.
        validation: fraction or number of training data.
    """

    download: bool | None
    validation: float


FETCHED: Fetched = {**PIXELS, "download": None, "validation": 0.1}


@source
def mnist(path: str | Path | None = None, **how: Unpack[Fetched]) -> Dataset:
    """Load MNIST, ``(1, 28, 28)``, from a folder, the user's cache or its public mirrors.

    Args:
        path: folder with the four idx files, compressed or not. None is the user's cache.
        how: see `Fetched`.

    Raises:
        DataError: for files that cannot be had, or are damaged.

    References:
        LeCun, Bottou, Bengio and Haffner (1998), Gradient-Based Learning Applied to Document Recognition,
            https://doi.org/10.1109/5.726791
    """
    return _load(DIGITS, path, how)


@source
def fashion_mnist(path: str | Path | None = None, **how: Unpack[Fetched]) -> Dataset:
    """Load Fashion-MNIST, ``(1, 28, 28)``, from Debian's ``dataset-fashion-mnist``, a folder, or its public home.

    Args:
        path: folder with the four idx files, compressed or not. None looks for Debian's package, then in the
            user's cache.
        how: see `Fetched`.

    Raises:
        DataError: for files that cannot be had, or are damaged.

    References:
        Xiao, Rasul and Vollgraf (2017), Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
            Algorithms, https://arxiv.org/abs/1708.07747
    """
    return _load(FASHION, path, how)


def _load(data: Published, path: str | Path | None, how: Fetched) -> Dataset:
    folder = locate(data, path, how.pop("download"))
    return load_idx(data.name, folder, class_names=data.classes, **how)


def locate(
    data: Published, path: str | Path | None = None, download: bool | None = None, opener: Opener = open_url
) -> Path:
    """Give the folder that has a public data set: the one named, an installed one, the cache, or a download.

    Args:
        data: what to find.
        path: the folder that the user named.
        download: see `Fetched`.
        opener: opens an address.

    Raises:
        DataError: if the files are nowhere and may not be, or cannot be, downloaded.
    """
    if path is not None and not download:
        return Path(path)
    cached = cache_folder(data.name)
    if path is None:
        for folder in (*map(Path, data.installed), cached):
            if data.in_folder(folder):
                return folder
        if download is False:
            places = ", ".join([*data.installed, str(cached)])
            raise DataError(
                f"Got download=False and no {data.name} in {places}, expected a folder that has it: name one by path=."
            )
    return fetch_all(
        data.files, data.mirrors, Path(path).expanduser().absolute() if path is not None else cached, opener
    )
