"""Data that stay in their files: the same data set as read whole, to the bit, or the same refusal."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
import torch

import ppl_vae as pv
from ppl_vae.datasets.blocks import Column
from ppl_vae.errors import DataError

DTYPES = ["float32", "float64", "float16", ">f4", ">f8", "uint8", "int8", "int32", "int64", ">i2", "uint16", "uint32"]
DTYPES += ["uint64", "bool"]
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))]
REFUSED = ["complex64", "U3", "datetime64[s]", "S2"]


def same(a, b):
    """Equal to the bit, NaN included."""
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits(a), bits(b))


def bits(x):
    return torch.empty(x.numel(), dtype=x.dtype).copy_(x.flatten()).view(torch.uint8) if x.numel() else x


def told(make):
    """A data set in its numbers, or the words of its refusal."""
    try:
        data = make()
    except DataError as error:
        return re.sub(r"\((\w+Error|ArrowInvalid): .*?\), expected", "(…), expected", str(error))
    return data


def parts(data):
    """All that there is in a data set, by name."""
    for name, split in data.splits.items():
        yield f"{name}/indices", split.indices.cpu()
        for size in (3, 1000):
            for number, batch in enumerate(split.batches(size)):
                yield from ((f"{name}/{size}/{number}/{i}", part) for i, part in enumerate(batch))
        if len(split) > 2:
            for i, part in enumerate(split.batch([2, -1, 0, 2])):
                yield f"{name}/listed/{i}", part
            for i, part in enumerate(split[1:].batch(slice(None, None, 2), torch.Generator().manual_seed(3))):
                yield f"{name}/noisy/{i}", part
        for key in ("labels", "factors"):
            if (extra := getattr(split, key)) is not None:
                yield f"{name}/{key}", extra
    yield "mean", data.spec.mean


def assert_law(whole, unread):
    """Either both are the same data set, or both are refused alike."""
    one, other = told(whole), told(unread)
    if isinstance(other, str) and "mmap=false if it holds categories" in other:  # their codes take memory
        assert isinstance(one, str) or one.spec.support == "mixed"
        return False
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return False
    assert one.spec == other.spec
    assert one.provenance == other.provenance
    assert any(isinstance(t, Column) for t in other.train.tensors)
    found, expected = list(parts(other)), list(parts(one))
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [name for (name, a), (_, b) in zip(found, expected, strict=True) if not same(a, b)] == []
    return True


def some(rng, options):
    return options[int(rng.integers(len(options)))]


def array(rng):
    """Any array that an npy file may hold, mostly such as make a data set."""
    n = int(some(rng, [0, 1, 7, 30, 61, 90]))
    shape = some(rng, [(n,), (n, 1), (n, 5), (n, 4, 4), (n, 1, 4, 4), (n, 4, 4, 3), (n, 0)])
    dtype = some(rng, DTYPES * 3 + REFUSED)
    if dtype in REFUSED:
        return np.zeros(shape, dtype)
    kind = np.dtype(dtype).kind
    x = rng.integers(0, int(some(rng, [2, 5, 200])), shape) if kind in "biu" else None
    if x is None:
        x = some(
            rng,
            [rng.random, rng.random, rng.standard_normal, lambda s: rng.integers(0, 9, s), lambda s: np.full(s, 2.5)],
        )(shape)
    x = np.asarray(x).astype(dtype)
    if kind == "f" and x.size and rng.random() < 0.4:
        x.flat[rng.integers(x.size)] = some(rng, [np.nan, np.nan, np.inf, -np.inf, -1.0])
    if dtype == "uint64" and x.size and rng.random() < 0.2:
        x.flat[0] = 2**63
    if kind == "i" and x.size and rng.random() < 0.2:
        x.flat[-1] = -1
    return np.asfortranarray(x) if rng.random() < 0.3 else x


def options(rng):
    """Keywords of a reader, each as often left out."""
    choices = {
        "validation": [0, 1, 0.1, 0.3],
        "test": [0, 2, 0.2],
        "seed": [5],
        "dtype": ["float64", "float16"],
        "binarization": ["static", "dynamic", "threshold"],
        "dequantization": ["uniform"],
        "scaling": ["none"],
        "standardization": ["zscore"],
        "support": ["binary", "counts", "unit", "real", "positive"],
        "levels": [2, 256],
        "channels": ["keep", "first", "last", "none"],
    }
    often = {"validation": 0.7, "test": 0.7}
    return {key: some(rng, values) for key, values in choices.items() if rng.random() < often.get(key, 0.06)}


@pytest.mark.parametrize("seed", SEEDS)
def test_an_npy_file_that_is_mapped_is_the_file(seed, tmp_path):
    rng, made = np.random.default_rng(seed), 0
    for case in range(60):
        x, how = array(rng), options(rng)
        np.save(tmp_path / "x.npy", x)
        if rng.random() < 0.3:
            np.save(tmp_path / "y.npy", rng.integers(0, 3, len(x) + int(rng.random() < 0.1)))
            how |= {"labels": tmp_path / "y.npy", "with_labels": bool(rng.random() < 0.5)}
        if rng.random() < 0.1:
            content = (tmp_path / "x.npy").read_bytes()
            (tmp_path / "x.npy").write_bytes(content[: int(rng.integers(1, len(content)))])
        blocks = {"shuffle_block": int(some(rng, [1, 3, 10])), "shuffle_window": int(some(rng, [1, 2, 4]))}

        def load(path=tmp_path / "x.npy", how=how, **more):
            return pv.datasets.npy(path, **how, **more)

        try:
            made += assert_law(load, lambda blocks=blocks, load=load: load(mmap=True, **blocks))
        except AssertionError as error:
            raise AssertionError(f"case {case}: {x.dtype} {x.shape}, {how}, {blocks}") from error
    assert made > 10


def column(rng, n):
    """Any column that pandas may write; numbers mostly."""
    x, gaps = rng.standard_normal(n), rng.random(n) < 0.2
    numeric = [
        lambda: x,
        lambda: x.astype("float32"),
        lambda: rng.random(n),
        lambda: np.where(gaps, np.nan, x),
        lambda: rng.integers(0, 2, n),
        lambda: rng.integers(-9, 9, n).astype("int8"),
        lambda: rng.integers(0, 99, n).astype("uint16"),
        lambda: x > 0,
        lambda: pd.array(np.where(gaps, None, rng.integers(0, 9, n)), dtype="Int64"),
        lambda: pd.array(rng.integers(0, 9, n), dtype="Int32"),
        lambda: pd.array(np.where(gaps, None, x > 0), dtype="boolean"),
        lambda: pd.array(np.where(gaps, None, x), dtype="Float32"),
    ]
    others = [
        lambda: np.where(np.arange(n) == n - 1, np.inf, x),
        lambda: np.where(gaps, None, x > 0).astype(object),
        lambda: np.array([f"{v:.2f}" for v in x], dtype=object),
        lambda: np.array(["1.5"] * (n - 1) + ["text"] * (n > 0), dtype=object),
        lambda: np.array(["1,5"] * n, dtype=object),
        lambda: pd.to_datetime(rng.integers(0, 10**9, n), unit="s"),
        lambda: pd.to_timedelta(rng.integers(0, 99, n), unit="s"),
    ]
    return some(rng, numeric * 12 + others)()


def written(rng, frame, file, kind):
    """Write a table in row groups of any size, some of them empty."""
    import pyarrow as pa
    import pyarrow.parquet

    table, start = pa.Table.from_pandas(frame), 0
    if kind == "parquet":
        options = {"compression": some(rng, ["none", "snappy"]), "write_statistics": bool(rng.random() < 0.5)}
        writer = pyarrow.parquet.ParquetWriter(file, table.schema, **options)
    else:
        compression = some(rng, [None, "lz4", "zstd"])
        writer = pa.ipc.new_file(file, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression))
    with writer:
        while start < len(frame):
            size = int(rng.integers(0, 20))
            part = table.slice(start, size)
            if size or kind == "parquet":
                writer.write_table(part)
            else:
                writer.write_batch(pa.RecordBatch.from_pydict({n: [] for n in table.schema.names}, table.schema))
            start += size


def table(rng):
    """A frame, and what is asked of it."""
    n, width = int(some(rng, [0, 1, 20, 45, 45, 70, 70])), int(rng.integers(1, 6))
    frame = pd.DataFrame({f"c{i}": column(rng, n) for i in range(width)})
    frame["kind"] = some(
        rng,
        [
            lambda: np.array(["a", "b"])[rng.integers(0, 2, n)],
            lambda: rng.integers(0, 3, n),
            lambda: np.where(rng.random(n) < 0.02, None, "a"),
        ],
    )()
    if rng.random() < 0.2:
        frame = frame.set_index(pd.Index(np.arange(n) * 3, name=some(rng, [None, "key"])))
    how = {
        "label": ["kind"] * 12 + [None, "king"],
        "columns": [None] * 9 + [["c0"], ["c0"], ["c0", "kind"]],
        "exclude": [()] * 9 + [["c0"], ["c9"]],
        "shape": [None] * 8 + [[1, width], [1, width], [width + 1]],
        "support": [None] * 18 + ["counts", "unit"],
        "standardization": ["zscore", "none", "none"],
        "binarization": ["none"] * 18 + ["static"],
        "validation": [0.1, 0, 3],
        "seed": [0, 7],
        "with_labels": [False, False, True],
    }
    how = {key: some(rng, values) for key, values in how.items()}
    if np.isinf(frame.select_dtypes(["float32", "float64"])).any(axis=None):
        how |= {"shape": None, "binarization": "none"}  # of two faults, the one that is found first is told
    return frame, how


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_table_that_is_read_by_row_groups_is_the_table(kind, seed, tmp_path):
    pytest.importorskip("pyarrow")
    rng, made = np.random.default_rng(seed), 0
    for case in range(30):
        frame, how = table(rng)
        file = tmp_path / f"t.{kind}"
        written(rng, frame, file, kind)

        def load(file=file, how=how, **more):
            return pv.datasets.load(kind, path=file, **how, **more)

        window = some(rng, [None, 1, 2])
        try:
            made += assert_law(load, lambda load=load, window=window: load(mmap=True, shuffle_window=window))
        except AssertionError as error:
            raise AssertionError(f"case {case}: {dict(frame.dtypes)} {len(frame)}, {how}") from error
    assert made > 2


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("npy", {"binarization": "static", "channels": "none"}),
        ("npy", {"binarization": "dynamic"}),
        ("parquet", {}),
        ("arrow", {"binarization": "static"}),
        ("items", {"binarization": "threshold"}),
        ("memmap", {}),
    ],
)
def test_a_pickle_holds_no_data_but_reads_the_file_again(kind, how, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (4000, 6)).astype("uint8")
    path = tmp_path / "x"
    if kind in ("npy", "items", "memmap"):
        x = x.reshape(4000, 2, 3)
        np.save(path.with_suffix(".npy"), x)
        path = path.with_suffix(".npy")
    else:
        pytest.importorskip("pyarrow")
        written(np.random.default_rng(0), pd.DataFrame(x, columns=list("abcdef"))[:90], path, kind)
        how = how | {"levels": 256}
    if kind == "npy":
        data = pv.datasets.npy(path, mmap=True, shuffle_block=50, validation=10, test=10, **how)
    elif kind in ("parquet", "arrow"):
        data = pv.datasets.load(kind, path=path, mmap=True, standardization="none", **how)
    else:
        given = torch.utils.data.Subset(Rows(path), range(50)) if kind == "items" else np.load(path, mmap_mode="r")
        data = pv.datasets.from_arrays(given, 5, 0.2, **how)
    list(data.train.batches(10))
    content = pickle.dumps(data)
    assert kind == "memmap" or len(content) < 20_000
    again = pickle.loads(content)
    assert_law(lambda: data, lambda: again)


class Rows(torch.utils.data.Dataset):
    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 4000

    def __getitem__(self, i):
        return np.load(self.path, mmap_mode="r")[i]


def test_a_pickle_of_a_file_that_has_changed_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(10.0))
    content = pickle.dumps(pv.datasets.npy(tmp_path / "x.npy", mmap=True))
    np.save(tmp_path / "x.npy", np.arange(11.0))
    with pytest.raises(DataError, match="has changed since it was opened"):
        pickle.loads(content)


@pytest.mark.parametrize("rows", [0, 9])
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_table_that_pandas_cannot_read_is_refused_as_a_whole(kind, rows, tmp_path):
    pa = pytest.importorskip("pyarrow")
    codes = pa.array([1, 2, 3] * (rows // 3), pa.int64()).dictionary_encode()
    frame = pa.table({"a": codes}).to_pandas(types_mapper=pd.ArrowDtype)
    written(np.random.default_rng(0), frame, tmp_path / "t", kind)
    words = told(lambda: pv.datasets.load(kind, path=tmp_path / "t"))
    assert "truncated, corrupt or no" in words
    assert told(lambda: pv.datasets.load(kind, path=tmp_path / "t", mmap=True)) == words


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "3", True])
@pytest.mark.parametrize("key", ["shuffle_block", "shuffle_window"])
def test_blocks_and_windows_are_whole_numbers(key, wrong, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((9, 2)))
    with pytest.raises(DataError, match=rf"Got {key}=.*, expected a whole number"):
        pv.datasets.npy(tmp_path / "x.npy", mmap=True, **{key: wrong})


def test_mmap_is_true_or_false(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((9, 2)))
    for wrong in ("no", 1, None):  # no is a text to Hydra
        with pytest.raises(DataError, match="expected true or false"):
            pv.datasets.npy(tmp_path / "x.npy", mmap=wrong)
