import gzip
import struct

import numpy as np
import pytest

from ppl_vae.datasets import idx
from ppl_vae.errors import DataError

RNG = np.random.default_rng(0)
TRAIN, TRAIN_Y = RNG.integers(0, 256, (40, 5, 6), dtype="uint8"), np.arange(40, dtype="uint8") % 10
TEST, TEST_Y = RNG.integers(0, 256, (7, 5, 6), dtype="uint8"), np.arange(7, dtype="uint8")


def write(file, array):
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


LAYOUTS = {
    "MNIST": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    "compressed": tuple(
        f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
    ),
    "dots": ("train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
    "upper case": (
        "TRAIN_IMAGES.IDX3-UBYTE",
        "TRAIN_LABELS.IDX1-UBYTE",
        "TEST_IMAGES.IDX3-UBYTE",
        "TEST_LABELS.IDX1-UBYTE",
    ),
    "EMNIST": tuple(
        f"emnist-letters-{s}-{k}-ubyte.gz" for s in ("train", "test") for k in ("images-idx3", "labels-idx1")
    ),
    "torchvision": tuple(f"MNIST/raw/{s}-{k}-ubyte" for s in ("train", "t10k") for k in ("images-idx3", "labels-idx1")),
    "a folder each": tuple(
        f"{s}-{k}-ubyte/{s}-{k}-ubyte" for s in ("train", "t10k") for k in ("images-idx3", "labels-idx1")
    ),
}


@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS)
def test_names_in_the_wild(tmp_path, names):
    for name, array in zip(names, (TRAIN, TRAIN_Y, TEST, TEST_Y), strict=True):
        write(tmp_path / name, array)
    data = idx(tmp_path, binarization="none", scaling="none", validation=0)
    assert data.spec.shape == (1, 5, 6)
    np.testing.assert_array_equal(data.train.tensors[0][:, 0].numpy(), TRAIN)
    np.testing.assert_array_equal(data.test.tensors[0][:, 0].numpy(), TEST)
    assert data.train.labels.tolist() == TRAIN_Y.tolist()
    assert data.test.labels.tolist() == TEST_Y.tolist()
    assert len(data.provenance["files"]) == 4


def test_images_stay_bytes_and_are_binarized_by_default(tmp_path):
    write(tmp_path / "train-images-idx3-ubyte", TRAIN)
    data = idx(tmp_path)
    assert data.train.tensors[0].dtype.itemsize == 1
    assert data.spec.support == "binary"


def test_without_test_files_a_tenth_is_set_aside(tmp_path):
    write(tmp_path / "train-images-idx3-ubyte.gz", TRAIN)
    data = idx(tmp_path, validation=5)
    assert [len(split) for split in data.splits.values()] == [31, 5, 4]
    assert data.train.labels is None


def test_one_file_is_enough(tmp_path):
    write(tmp_path / "pictures.idx", TRAIN)
    assert len(idx(tmp_path / "pictures.idx").train) == 32


def test_colours_and_rows(tmp_path):
    write(tmp_path / "a" / "train-images-idx4-ubyte", np.stack([TRAIN] * 3, -1))
    assert idx(tmp_path / "a").spec.shape == (3, 5, 6)
    write(tmp_path / "b" / "train-images-idx2-ubyte", TRAIN.reshape(40, 30))
    assert idx(tmp_path / "b").spec.shape == (30,)


def test_detailed_labels_give_the_class(tmp_path):
    write(tmp_path / "qmnist-train-images-idx3-ubyte", TRAIN)
    write(tmp_path / "qmnist-train-labels-idx2-int", np.stack([TRAIN_Y, TRAIN_Y * 0 + 99], 1))
    assert idx(tmp_path).spec.num_classes == 10


def test_a_compressed_twin_is_not_in_the_way(tmp_path):
    write(tmp_path / "train-images-idx3-ubyte", TRAIN)
    write(tmp_path / "train-images-idx3-ubyte.gz", TEST)
    assert len(idx(tmp_path, validation=0, test=0).train) == 40


def test_several_data_sets_in_one_folder(tmp_path):
    for variant in ("emnist-letters", "emnist-digits"):
        write(tmp_path / f"{variant}-train-images-idx3-ubyte", TRAIN)
    with pytest.raises(DataError, match="variant= one of 'emnist-digits', 'emnist-letters'"):
        idx(tmp_path)
    assert len(idx(tmp_path, variant="EMNIST_letters", validation=0, test=0).train) == 40
    with pytest.raises(DataError, match="variant='emnist-byclass'"):
        idx(tmp_path, variant="emnist-byclass")


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({}, {}, "expected a file such as train-images-idx3-ubyte.*it holds nothing"),
        ({"cats.zip": TRAIN}, {}, "it holds cats.zip"),
        ({"t10k-images-idx3-ubyte": TEST}, {}, "expected a file such as train-images"),
        ({"train-images-idx3-ubyte": TRAIN, "train-labels-idx1-ubyte": TEST_Y}, {}, "7 labels for 40 data of train"),
        ({"train-images-idx3-ubyte": TRAIN_Y}, {}, "are these the labels"),
        ({"train-images-idx3-ubyte": TRAIN, "train-labels-idx1-ubyte": TRAIN}, {}, "are these the images"),
        ({"train-images-idx3-ubyte": TRAIN[:0]}, {}, "holds no data"),
        ({"train-images-idx3-ubyte": TRAIN, "t10k-images-idx3-ubyte": TEST[:, :4]}, {}, "same in every split"),
        ({"train-images-idx3-ubyte": TRAIN, "t10k-images-idx3-ubyte": TEST}, {"test": 0.1}, "test=null"),
    ],
    ids=lambda v: "" if isinstance(v, dict) else v[:24],
)
def test_refuses(tmp_path, files, options, message):
    for name, array in files.items():
        write(tmp_path / name, array)
    with pytest.raises(DataError, match=message):
        idx(tmp_path, **options)


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match="does not exist, expected a folder with idx files"):
        idx(tmp_path / "nowhere")
