import gzip
import hashlib
import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl_vae.datasets import fashion_mnist, mnist
from ppl_vae.datasets.idx import read_idx
from ppl_vae.datasets.mnist import DIGITS, FASHION, locate
from ppl_vae.errors import DataError


def files(count=12):
    """The four files of a tiny MNIST by name."""
    rng = np.random.default_rng(0)
    out = {}
    for name in DIGITS.files:
        array = (
            rng.integers(0, 256, (count, 28, 28), dtype="uint8")
            if "images" in name
            else np.arange(count, dtype="uint8") % 10
        )
        head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        out[name] = gzip.compress(head + array.tobytes())
    return out


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ppl_vae" / "mnist"


def test_a_given_folder_is_used_as_it_is(tmp_path, cache):
    for name, content in files().items():
        (tmp_path / name).write_bytes(content)
    data = mnist(tmp_path, validation=2)
    assert [len(split) for split in data.splits.values()] == [10, 2, 12]
    assert data.spec.class_names == tuple("0123456789")
    assert not cache.exists()


def test_the_cache_is_used_without_asking(cache):
    cache.mkdir(parents=True)
    for name, content in files().items():
        (cache / name).write_bytes(content)
    assert len(mnist(validation=0).train) == 12


def test_a_download_fills_the_cache(cache):
    content = files()
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    opened = []

    def opener(url):
        opened.append(url)
        return io.BytesIO(content[url.rsplit("/", 1)[1]])

    for _ in range(2):
        assert locate(replace(DIGITS, files=sums), opener=opener) == cache
    assert len(opened) == 4
    assert len(mnist().test) == 12


def test_a_download_into_a_named_folder_only_on_request(tmp_path, cache):
    with pytest.raises(DataError, match="does not exist"):
        mnist(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_no_download(cache):
    with pytest.raises(DataError, match=r"download=False and no mnist in .*name one by path="):
        mnist(download=False)
    assert not cache.exists()


HERE = next((Path(folder) for folder in FASHION.installed if Path(folder).is_dir()), None)
needs_package = pytest.mark.skipif(HERE is None, reason="Debian's dataset-fashion-mnist is not installed")


@needs_package
def test_the_system_package_has_the_published_values():
    """Checksums of the values, since Debian compresses them anew."""
    published = {
        "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    }
    for name, expected in published.items():
        values = read_idx(HERE / name)
        head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
        assert hashlib.sha256(head + values.tobytes()).hexdigest() == expected


@needs_package
def test_loads_the_real_images():
    data = fashion_mnist()
    assert [len(split) for split in data.splits.values()] == [54_000, 6_000, 10_000]
    assert data.train.tensors[0].dtype == torch.uint8
    assert data.spec.class_names == FASHION.classes
    assert torch.bincount(data.test.labels).tolist() == [1000] * 10
    assert abs(data.spec.mean.mean() - 0.286) < 0.002  # the well-known mean grey


def test_an_installed_package_comes_before_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in FASHION.files:
        (tmp_path / name).touch()
    assert locate(replace(FASHION, installed=(str(tmp_path / "no"), str(tmp_path)))) == tmp_path
