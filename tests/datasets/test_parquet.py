import sys

import numpy as np
import pandas as pd
import pytest

from ppl_vae.datasets import parquet
from ppl_vae.errors import DataError

pytest.importorskip("pyarrow")
RNG = np.random.default_rng(0)
TABLE = pd.DataFrame({"a": RNG.normal(size=40), "b": RNG.normal(size=40), "kind": ["x", "y"] * 20})


@pytest.fixture
def file(tmp_path):
    TABLE.set_index(np.arange(100, 140)).to_parquet(tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def test_loads_without_the_index(file):
    data = parquet(file, label="kind")
    assert data.spec.feature_names == ("a", "b")
    assert data.spec.class_names == ("x", "y")
    assert list(data.provenance["files"]) == [str(file)]


def test_selects(file):
    assert parquet(file, columns=["b"], standardization="none").spec.feature_names == ("b",)


def test_missing_values_stay(tmp_path):
    table = TABLE.copy()
    table.loc[7, "b"] = np.nan
    table.to_parquet(tmp_path / "t.parquet")
    data = parquet(tmp_path / "t.parquet", label="kind", validation=0, test=0)
    assert data.train.batch()[0].isnan().nonzero().tolist() == [[7, data.spec.feature_names.index("b")]]


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_truncated(file, kept):
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match="truncated, corrupt or no parquet file"):
        parquet(file)


def test_corrupt(file):
    content = bytearray(file.read_bytes())
    content[-200:-8] = bytes(192)
    file.write_bytes(content)
    with pytest.raises(DataError, match="truncated, corrupt or no parquet file"):
        parquet(file)


def test_another_format(tmp_path):
    (tmp_path / "t.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no parquet file"):
        parquet(tmp_path / "t.parquet")


def test_pyarrow_is_asked_for(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'ppl-vae\[parquet\]'"):
        parquet(file)


def test_names_that_are_no_text(tmp_path):
    """Each row group repeats the names of its columns; one that is damaged is told, or not needed."""
    path = tmp_path / "named.parquet"
    table = pd.DataFrame({"first": np.arange(40), "second": np.arange(40.0) ** 2})
    table.to_parquet(path, row_group_size=10)
    content, told = path.read_bytes(), []
    places = [i for i in range(len(content)) if content.startswith(b"first", i)]
    for at in places:
        path.write_bytes(content[:at] + b"\x80" + content[at + 1 :])
        try:
            parquet(path, mmap=True)
        except DataError as error:
            told.append(str(error))
    assert len(told) >= 4  # of four row groups
    assert all("named.parquet" in text for text in told)
