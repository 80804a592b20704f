import numpy as np
import pytest
import scipy.sparse
import torch

import ppl_vae as pv
from ppl_vae.datasets import files, from_arrays, npz
from ppl_vae.datasets.blocks import Column
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


@pytest.mark.parametrize("make", [scipy.sparse.csr_matrix, scipy.sparse.csr_array])
@pytest.mark.parametrize("kind", ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"])
def test_every_form_of_a_sparse_matrix_is_taken(kind, make):
    x = make(DENSE.astype("float32")).asformat(kind)
    assert np.array_equal(from_arrays(x, scaling="none").train.batch()[0], DENSE)
    beside = from_arrays({"x": x, "age": np.arange(50.0)}, scaling="none")
    assert np.array_equal(beside.train.batch()[0], DENSE)


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


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
def test_rows_are_made_dense_when_a_batch_takes_them(kind):
    data = from_arrays(scipy.sparse.csr_array(DENSE).asformat(kind), validation=7, test=0.2)
    (x,) = data.train.tensors
    assert isinstance(x, Column)
    assert x.source.values.shape == (np.count_nonzero(DENSE),)
    order = torch.tensor([3, 0, 3, 31])
    assert torch.equal(data.train.batch(order)[0], torch.tensor(DENSE)[data.train.indices[:]][order])
    dense = from_arrays(DENSE, validation=7, test=0.2)
    assert torch.equal(data.spec.mean, dense.spec.mean)
    assert data.spec == dense.spec


def test_sparse_data_are_shuffled_as_a_whole_and_train_to_the_bits_of_dense_ones():
    matrix = scipy.sparse.csr_array(DENSE.astype("float32"))

    def trained(x):
        data = from_arrays(x, validation=10)
        assert data.train.block_order is None
        torch.manual_seed(0)
        model = pv.models.VAE(data.spec, latent_dim=2, hidden=[8])
        vae = pv.VAE(model, pv.guides.Amortized(data.spec, model, hidden=[8]))
        pv.fit(vae, data, epochs=2, seed=0, batch_size=16)
        return [p.detach() for p in vae.parameters()]

    pairs = zip(trained(matrix), trained(DENSE.astype("float32")), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_what_was_given_stays_as_it_is():
    twice = scipy.sparse.csr_array((np.array([1.0, 2.0]), np.array([1, 1]), np.array([0, 2])), shape=(1, 3))
    assert from_arrays(twice).train.batch()[0].tolist() == [[0, 3, 0]]
    assert twice.data.tolist() == [1.0, 2.0]


def test_sparse_matrices_beside_x():
    mask = torch.tensor(DENSE > 0).to_sparse()
    data = from_arrays({"x": DENSE, "mask": mask}, validation=5)
    assert torch.equal(data.train.batch()[1], data.train.batch()[0] > 0)


def test_many_columns_are_read_a_few_rows_at_a_time():
    wide = from_arrays(scipy.sparse.eye_array(40, 10**6, format="csr", dtype=np.float32))
    assert max(len(part) for part in wide.train.tensors[0].split(4096)) <= 16  # of 4 MB each
    wrong = scipy.sparse.csr_array(([np.inf], ([37], [5])), shape=(40, 10**6))
    with pytest.raises(DataError, match=r"the first is inf in datum 37 at \[5\]"):
        from_arrays(wrong)


def test_topics_take_sparse_documents(tmp_path):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_array(DENSE))
    data = npz(tmp_path / "x.npz", validation=5, test=5)
    model = pv.models.Topics(data.spec, latent_dim=3)
    vae = pv.VAE(model, pv.guides.DirichletAmortized(data.spec, model, hidden=[8]))
    history = pv.fit(vae, data, epochs=2, seed=0)
    assert np.isfinite(history["validation/bound"]).all()
    assert np.isfinite(pv.evaluate(vae, data.test, num_particles=5).summary["elbo"])
