import numpy as np
import pytest
import scipy.sparse

from ppl_vae.datasets import files, from_arrays, npz
from ppl_vae.datasets.npz import read_sparse
from ppl_vae.errors import DataError

RNG = np.random.default_rng(0)
DENSE = RNG.integers(1, 9, (50, 20)) * (RNG.random((50, 20)) < 0.2)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
@pytest.mark.parametrize("make", [scipy.sparse.csr_matrix, scipy.sparse.csr_array])
def test_a_sparse_file_is_the_matrix_that_it_is(tmp_path, kind, dtype, make):
    scipy.sparse.save_npz(tmp_path / "x.npz", make(DENSE.astype(dtype)).asformat(kind))
    data = npz(tmp_path / "x.npz", validation=0, test=0, scaling="none")
    assert np.array_equal(data.train.batch()[0], DENSE)
    assert data.spec.support == ("integers" if dtype == "uint8" else "counts")
    same = from_arrays(make(DENSE.astype(dtype)).asformat(kind), scaling="none")
    assert np.array_equal(same.train.batch()[0], DENSE)


def test_entries_that_stand_twice_add_up(tmp_path):
    twice = scipy.sparse.coo_matrix(([1.0, 2.0], ([0, 0], [1, 1])), shape=(3, 2))
    scipy.sparse.save_npz(tmp_path / "x.npz", twice)
    assert npz(tmp_path / "x.npz", validation=0, test=0).train.batch()[0].tolist() == twice.toarray().tolist()


def test_empty_rows_are_data(tmp_path):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_matrix(np.array([[0.0, 0], [0, 3], [0, 0]])))
    assert npz(tmp_path / "x.npz", validation=0, test=0).train.batch()[0].tolist() == [[0, 0], [0, 3], [0, 0]]


def test_what_is_no_matrix_is_refused(tmp_path, monkeypatch):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.dia_matrix(np.eye(3)))
    with pytest.raises(DataError, match=r"format 'dia', expected csr, csc or coo"):
        npz(tmp_path / "x.npz")
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_matrix(DENSE))
    with pytest.raises(DataError, match=r"'data' of .*x.npz, which holds one sparse matrix"):
        npz(tmp_path / "x.npz", x="data")
    monkeypatch.setattr(files, "available", lambda: 10)
    with pytest.raises(DataError, match=r"x\.npz"):
        npz(tmp_path / "x.npz")


GOOD = {
    "format": np.array(b"csr"),
    "shape": np.array([2, 3]),
    "data": np.array([7, 8]),
    "indices": np.array([2, 0]),
    "indptr": np.array([0, 1, 2]),
}


@pytest.mark.parametrize("dtype", ["float16", ">f8", ">f4", "longdouble", "bool", "uint64", ">u2"])
@pytest.mark.parametrize("places", ["uint8", ">i4", "uint64"])
def test_files_of_other_makers(tmp_path, dtype, places):
    parts = {key: value.astype(places) for key, value in GOOD.items() if key in ("indices", "indptr")}
    np.savez(tmp_path / "x.npz", **{**GOOD, **parts, "data": GOOD["data"].astype(dtype)})
    dense = np.array([[0, 0, 7], [8, 0, 0]]).astype(dtype)
    assert npz(tmp_path / "x.npz", validation=0, test=0).train.batch()[0].tolist() == dense.tolist()


@pytest.mark.parametrize(
    "wrong",
    [
        {"indices": np.array([3, 0])},
        {"indices": np.array([-1, 0])},
        {"indices": np.array([0.0, 1.0])},
        {"indices": np.array([0])},
        {"indptr": np.array([0, 1])},
        {"indptr": np.array([0, 2, 1])},
        {"indptr": np.array([1, 1, 2])},
        {"shape": np.array([1, 3])},
        {"shape": np.array([2])},
        {"shape": np.array([0, 3])},
        {"data": np.array(["a", "b"])},
        {"data": np.array([[7, 8]])},
        {"format": np.array(b"bsr")},
        {"format": np.array([b"csr", b"csc"])},
        {"format": np.array(b"coo")},
    ],
    ids=str,
)
def test_damaged_parts_are_refused(wrong):
    with pytest.raises(DataError, match="expected"):
        read_sparse({**GOOD, **wrong}, "x.npz")
