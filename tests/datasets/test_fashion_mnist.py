import hashlib
from pathlib import Path

import pytest
import torch

from ppl_vae.datasets import fashion_mnist
from ppl_vae.datasets.fashion_mnist import CLASSES, FILES, INSTALLED
from ppl_vae.datasets.idx_format import read_idx
from ppl_vae.datasets.mnist import locate

HERE = next((Path(folder) for folder in INSTALLED if Path(folder).is_dir()), None)
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
    assert data.spec.class_names == CLASSES
    assert torch.bincount(data.test.labels).tolist() == [1000] * 10
    assert abs(data.spec.mean.mean() - 0.286) < 0.002  # the well-known mean grey


def test_an_installed_package_comes_before_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in FILES:
        (tmp_path / name).touch()
    assert locate("fashion_mnist", None, None, FILES, (), [str(tmp_path / "no"), str(tmp_path)]) == tmp_path
