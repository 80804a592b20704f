import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from ppl_vae.datasets import from_arrays
from ppl_vae.datasets.convert import as_dtype, as_tensor, channels_first
from ppl_vae.errors import DataError


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.zeros(2), torch.float32),
        (np.zeros(2, "float32"), torch.float32),
        (np.zeros(2, "float16"), torch.float32),
        (np.zeros(2, "longdouble"), torch.float32),
        (np.zeros(2, ">f8"), torch.float32),
        (np.zeros(2, ">i2"), torch.int16),
        (np.zeros(2, "uint16"), torch.int32),
        (np.zeros(2, "uint32"), torch.int64),
        (np.zeros(2, "uint64"), torch.int64),
        (np.zeros(2, "uint8"), torch.uint8),
        (np.zeros(2, "bool"), torch.bool),
        (torch.zeros(2, dtype=torch.float64), torch.float64),
        (torch.zeros(2, dtype=torch.uint16), torch.int32),
        ([0.0, 1.0], torch.float32),
        (pd.DataFrame({"a": [1, 2]}), torch.int64),
    ],
    ids=lambda v: str(getattr(v, "dtype", type(v).__name__)),
)
def test_dtypes(array, dtype):
    assert as_tensor(array, "x").dtype == dtype


def test_dtype_is_for_floating_point_only():
    assert as_tensor(np.zeros(2), "x", torch.float64).dtype == torch.float64
    assert as_tensor(torch.zeros(2), "x", torch.float64).dtype == torch.float64
    assert as_tensor(np.zeros(2, int), "x", torch.float64).dtype == torch.int64


def test_values_survive_any_memory_layout():
    base = np.arange(12, dtype=">u2").reshape(3, 4)
    for array in (base, base[::-1], base.T, np.asfortranarray(base), np.broadcast_to(base[0], (3, 4))):
        assert as_tensor(array, "x").tolist() == array.tolist()


def test_a_file_that_is_mapped_stays_mapped(tmp_path):
    for dtype in ("float32", "float64", "int64", "uint8"):
        np.save(tmp_path / "x.npy", np.arange(3).astype(dtype))
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        tensor = as_tensor(mapped, "x")
        assert tensor.data_ptr() == mapped.ctypes.data
        assert tensor.tolist() == [0, 1, 2]


def test_sparse_matrices_are_what_they_are():
    dense = np.array([[0.0, 2.0], [3.0, 0.0], [0.0, 0.0]])
    for sparse in (
        scipy.sparse.csr_matrix(dense),
        scipy.sparse.coo_array(dense),
        torch.tensor(dense).to_sparse(),
    ):
        assert as_tensor(sparse, "x").tolist() == dense.tolist()


def test_tables_of_several_types_and_missing_values():
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [True, False]})
    assert str(as_tensor(frame, "x").tolist()) == "[[1.0, 1.0], [nan, 0.0]]"
    assert str(as_tensor(np.ma.masked_equal([1.0, 2.0], 2.0), "x").tolist()) == "[1.0, nan]"


def test_gradients_are_left_behind():
    assert not as_tensor(torch.zeros(2, requires_grad=True), "x").requires_grad


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["a", "b"]), "dtype <U1 .first value np.str_.'a'.*expected numbers"),
        (np.array([1, None]), "dtype object"),
        ([[1.0], [1.0, 2.0]], "same shape"),
        (np.zeros(2, complex), "complex"),
        (np.array(3.0), "single number"),
        ("data.npy", "expected an array. For a file"),
        ({"x": 1}, "Got dict"),
        (np.ma.masked_equal([1, 2], 2), "1 masked"),
        (np.array([2**63], "uint64"), "above 2⁶³ − 1"),
        (torch.tensor([2**63], dtype=torch.uint64), "above 2⁶³ − 1"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "expected numbers"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_refuses(array, message):
    with pytest.raises(DataError, match=message):
        as_tensor(array, "x")


def test_dtype_names():
    assert as_dtype("float64") is as_dtype(torch.float64) is torch.float64
    assert as_dtype(None) is None
    for wrong in ("float46", "int64", "nn", torch.int32):
        with pytest.raises(DataError, match="expected"):
            as_dtype(wrong)


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((5, 8, 9), None, (5, 8, 9)),
        ((5, 8, 9), "none", (5, 1, 8, 9)),
        ((5, 8, 9), "auto", (5, 1, 8, 9)),
        ((5, 8, 9, 3), "auto", (5, 3, 8, 9)),
        ((5, 8, 9, 3), "last", (5, 3, 8, 9)),
        ((5, 8, 9, 3), "keep", (5, 8, 9, 3)),
        ((5, 3, 8, 9), "auto", (5, 3, 8, 9)),
        ((5, 3, 8, 3), "auto", (5, 3, 8, 3)),
        ((5, 7, 8, 9), "last", (5, 9, 7, 8)),
        ((5, 64), "auto", (5, 64)),
    ],
    ids=str,
)
def test_shapes(shape, channels, expected):
    assert channels_first(torch.zeros(shape, dtype=torch.uint8), channels).shape == expected


def test_pixels_stay_where_they_are():
    x = torch.randint(0, 256, (2, 5, 6, 3), dtype=torch.uint8)
    assert torch.equal(channels_first(x, "last")[1, 2, 3, 4], x[1, 3, 4, 2])


def test_colours_last_are_not_taken_for_rows():
    with pytest.raises(DataError, match="channels='last'"):
        from_arrays(torch.zeros(4, 8, 8, 3, dtype=torch.uint8))
    assert from_arrays(torch.rand(4, 8, 8, 3)).spec.shape == (8, 8, 3)  # numbers may be anything


@pytest.mark.parametrize(("shape", "channels"), [((5, 8), "none"), ((5, 8, 9), "last"), ((5, 8, 9), "first")], ids=str)
def test_refuses_what_is_no_image(shape, channels):
    with pytest.raises(DataError, match="axes"):
        channels_first(torch.zeros(shape), channels)


def test_refuses_unknown_names():
    with pytest.raises(DataError, match="expected one of keep, auto"):
        channels_first(torch.zeros(2, 3, 3), "hwc")
