import gzip

import numpy as np
import pandas as pd
import pytest
import torch

from ppl_vae.datasets import csv
from ppl_vae.errors import DataError

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame({"a": RNG.normal(5, 2, 40), "b": RNG.normal(-1, 9, 40), "kind": ["x", "y"] * 20})


@pytest.fixture
def file(tmp_path):
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def test_loads_standardized_columns_and_labels(file):
    data = csv(file, label="kind")
    assert [len(split) for split in data.splits.values()] == [32, 4, 4]
    assert data.spec.feature_names == ("a", "b")
    assert data.spec.class_names == ("x", "y")
    assert data.spec.support == "real"
    (z,) = data.train.batch()
    torch.testing.assert_close(z.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    original = torch.tensor(TABLE[["a", "b"]].to_numpy("float32").copy())
    torch.testing.assert_close(data.spec.restore(z), original[data.train.indices])


def test_the_index_that_pandas_writes_is_left_out(tmp_path):
    TABLE.to_csv(tmp_path / "t.csv")
    assert csv(tmp_path / "t.csv", label="kind").spec.feature_names == ("a", "b")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_another_delimiter_is_found_out(tmp_path, delimiter):
    TABLE.to_csv(tmp_path / "t.csv", index=False, sep=delimiter)
    with pytest.raises(DataError, match="give delimiter="):
        csv(tmp_path / "t.csv", label="kind")
    assert csv(tmp_path / "t.csv", label="kind", delimiter=delimiter).spec.shape == (2,)


def test_without_a_header(tmp_path):
    TABLE[["a", "b"]].to_csv(tmp_path / "t.csv", index=False, header=False)
    with pytest.raises(DataError, match="header=false"):
        csv(tmp_path / "t.csv")
    data = csv(tmp_path / "t.csv", header=False, columns=[1], test=0, validation=0)
    assert data.spec.feature_names == ("1",)
    assert len(data.train) == 40


def test_compressed(tmp_path):
    TABLE.to_csv(tmp_path / "t.csv.gz", index=False)
    assert csv(tmp_path / "t.csv.gz", label="kind").spec.shape == (2,)
    content = (tmp_path / "t.csv.gz").read_bytes()
    (tmp_path / "t.csv.gz").write_bytes(content[:-20])
    with pytest.raises(DataError, match="truncated, corrupt or no csv file"):
        csv(tmp_path / "t.csv.gz")


def test_counts_as_they_are(tmp_path):
    pd.DataFrame({"a": [0, 3, 2], "b": [1, 1, 7]}).to_csv(tmp_path / "t.csv", index=False)
    data = csv(tmp_path / "t.csv", standardization="none", validation=0, test=0)
    assert data.spec.support == "counts"
    assert data.train.batch()[0].tolist() == [[0, 1], [3, 1], [2, 7]]


def test_rows_of_pixels(tmp_path):
    pixels = RNG.integers(0, 256, (20, 12))
    table = pd.DataFrame(pixels, columns=[f"pixel{i}" for i in range(12)]).assign(label=np.arange(20) % 10)
    table.to_csv(tmp_path / "t.csv", index=False)
    options = {"label": "label", "standardization": "none", "binarization": "dynamic", "validation": 0, "test": 0}
    with pytest.raises(DataError, match="give levels=256"):
        csv(tmp_path / "t.csv", **options)
    data = csv(tmp_path / "t.csv", levels=256, shape=[1, 3, 4], **options)
    assert data.spec.shape == (1, 3, 4)
    assert data.spec.support == "binary"
    np.testing.assert_array_equal(data.train.tensors[0].numpy(), pixels.reshape(20, 1, 3, 4))
    with pytest.raises(DataError, match="product is 12"):
        csv(tmp_path / "t.csv", levels=256, shape=[28, 28], **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3,inf\n", "infinite"),
        ("a,b\n1,2\n3,4,5\n", "Expected 2 fields in line 3, saw 3.*rows of one length"),
        ("a,b\n", "without rows"),
        ("\n\n", "No columns to parse"),
        ("a,b\n1,x\n", r"'x' in .* row 1 \(line 2\), column 'b'"),
        ("a,b\n1,2\n1,4\n1,3\n1,8\n", "'a'; the first is 1 throughout"),
        (gzip.compress(b"a,b\n1,2\n"), "truncated, corrupt or no csv file.*UTF-8"),
        (b"\xff\xfe\x00a", "truncated, corrupt or no csv file.*UTF-8"),
    ],
    ids=lambda v: v[:20] if isinstance(v, str) else "",
)
def test_refuses(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        csv(tmp_path / "t.csv", validation=0, test=0)


def test_missing_values_stay(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,\nNA,4\n5,9\n")
    data = csv(tmp_path / "t.csv", validation=0, test=0)
    assert data.train.batch()[0].isnan().tolist() == [[False, False], [False, True], [True, False], [False, False]]
    assert data.spec.location == (3.0, 5.0)


def test_a_table_larger_than_memory_is_said_to_be_so(file, monkeypatch):
    monkeypatch.setattr("ppl_vae.datasets.files.available", lambda: 10)
    with pytest.raises(DataError, match=r"t\.csv of .* GiB in memory.*mmap=true"):
        csv(file, label="kind")
