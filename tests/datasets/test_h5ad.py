"""h5ad files as anndata 0.12 writes them, made here by h5py, and objects with the attributes of an AnnData."""

import os
import signal
import sys
import time
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from ppl_vae.datasets import from_arrays, h5ad
from ppl_vae.datasets.blocks import Column
from ppl_vae.datasets.h5ad import read_h5ad
from ppl_vae.errors import DataError
from ppl_vae.files.hdf5 import survives

RNG = np.random.default_rng(0)
X = RNG.poisson(0.7, (20, 6)).astype("float32")
BATCH = np.array(["b2", "b1"])[RNG.integers(2, size=20)]
OBS = {"age": RNG.uniform(20, 80, 20), "lane": RNG.integers(3, 6, 20), "kind": RNG.choice(["T", "B"], 20)}
GENES = [f"gene{i}" for i in range(6)]


def table(file, name, index, columns):
    group = file.create_group(name)
    group.attrs.update({"_index": "_index", "encoding-type": "dataframe", "column-order": list(columns)})
    group["_index"] = list(index)
    for key, values in columns.items():
        group[key] = values if np.asarray(values).dtype.kind != "U" else np.asarray(values).tolist()
    return group


def sparse(file, name, matrix):
    group = file.create_group(name)
    group.attrs.update({"encoding-type": f"{matrix.format}_matrix", "shape": matrix.shape})
    for key in ("data", "indices", "indptr"):
        group[key] = getattr(matrix, key)


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        sparse(file, "X", scipy.sparse.csr_matrix(X))
        sparse(file, "layers/csc", scipy.sparse.csc_matrix(2 * X))
        file["layers/dense"] = 3 * X
        obs = table(file, "obs", [f"cell{i}" for i in range(20)], OBS)
        batch = obs.create_group("batch")
        batch.attrs["encoding-type"] = "categorical"
        batch["categories"], batch["codes"] = ["b1", "b2"], (BATCH == "b2").astype("int8")
        gaps = obs.create_group("gaps")
        gaps.attrs["encoding-type"] = "nullable-integer"
        gaps["values"], gaps["mask"] = np.arange(20), np.arange(20) == 7
        table(file, "var", GENES, {})
    return tmp_path / "cells.h5ad"


WHOLE = {"validation": 0, "test": 0}


@pytest.mark.parametrize(("layer", "times"), [(None, 1), ("csc", 2), ("dense", 3)])
def test_a_matrix_with_its_names(path, layer, times):
    data = h5ad(path, layer=layer, fields=["batch", "age", "lane"], categories=["lane"], label="kind", **WHOLE)
    x, batch, age, lane = data.train.batch()
    assert np.array_equal(x, times * X)
    assert isinstance(data.train.tensors[0], Column) == (layer != "dense")
    assert data.spec.feature_names == tuple(GENES)
    assert [("b1", "b2")[code] for code in batch] == list(BATCH)
    assert np.allclose(age, OBS["age"])
    assert [int(data.spec.fields[3].class_names[code]) for code in lane] == list(OBS["lane"])
    assert [data.spec.class_names[code] for code in data.train.labels] == list(OBS["kind"])
    assert data.spec.support == "counts"


def test_genes_by_name(path):
    data = h5ad(path, columns=["gene4", "gene1"], **WHOLE)
    assert np.array_equal(data.train.batch()[0], X[:, [4, 1]])
    assert data.spec.feature_names == ("gene4", "gene1")
    with pytest.raises(DataError, match=r"'gen4', which var_names of .* perhaps 'gene4'"):
        h5ad(path, columns=["gen4"])


def test_small_integers_are_counts_and_no_pixels(path):
    with h5py.File(path, "a") as file:
        file["layers/small"] = X.astype("uint8")
    data = h5ad(path, layer="small", **WHOLE)
    assert data.spec.support == "counts"
    assert np.array_equal(data.train.batch()[0], X)


def test_names_of_rows(path):
    assert read_h5ad(path, matrix=False).rows == [f"cell{i}" for i in range(20)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": ["aeg"]}, r"a column 'aeg', which obs of .* perhaps 'age'"),
        ({"layer": "cscc"}, r"layer 'cscc'.* expected one of csc, dense: perhaps 'csc'"),
        ({"fields": ["gaps"]}, r"1 missing values in column 'gaps'"),
        ({"label": "gaps"}, r"1 missing values in column 'gaps'"),
    ],
)
def test_what_is_not_there_is_told(path, options, message):
    with pytest.raises(DataError, match=message):
        h5ad(path, **options)


def test_damaged_and_other_files_are_refused(path, tmp_path):
    (tmp_path / "no.h5ad").write_bytes(b"no HDF5 at all")
    with pytest.raises(DataError, match=r"no\.h5ad is no readable h5ad file"):
        h5ad(tmp_path / "no.h5ad")
    (tmp_path / "half.h5ad").write_bytes(path.read_bytes()[:6000])
    with pytest.raises(DataError, match=r"half\.h5ad"):
        h5ad(tmp_path / "half.h5ad")
    with h5py.File(path, "a") as file:
        file["X/indices"][0] = 99
    with pytest.raises(DataError, match="sparse matrix"):
        h5ad(path)
    with h5py.File(path, "a") as file:
        del file["X"]
    with pytest.raises(DataError, match="without X, expected a layer: csc, dense"):
        h5ad(path)
    with h5py.File(path, "a") as file:
        del file["obs"]
        file["obs"] = np.zeros(20, [("age", "f4")])  # as anndata wrote it before 0.7
    with pytest.raises(DataError, match=r"obs and var are no tables.*anndata 0\.8"):
        h5ad(path)


def test_a_file_that_reaches_out_of_itself_is_refused(path, tmp_path):
    with h5py.File(path, "a") as file:
        del file["X"]
        file["X"] = h5py.ExternalLink("elsewhere.h5", "/X")
    with pytest.raises(DataError, match="a link to another file"):
        h5ad(path)


def annotated(rows=slice(None), **options):
    obs = pd.DataFrame({**OBS, "batch": pd.Categorical(BATCH)}, index=[f"cell{i}" for i in range(20)])[rows]
    x = scipy.sparse.csr_matrix(X)[rows]
    whole = {"X": x, "layers": {"twice": 2 * x}, "obs": obs, "obs_names": obs.index, "var_names": pd.Index(GENES)}
    return SimpleNamespace(**{**whole, **options})


def test_an_anndata_is_its_matrix_and_what_is_named():
    data = from_arrays(
        annotated(slice(12)), None, annotated(slice(12, None)), fields=["batch", "age"], layer="twice", labels="kind"
    )
    assert torch.equal(data.test.batch()[0], torch.tensor(2 * X[12:]))
    assert [field.name for field in data.spec.fields] == ["x", "batch", "age"]
    assert data.spec.feature_names == tuple(GENES)
    assert [data.spec.class_names[code] for code in data.test.labels] == list(OBS["kind"][12:])
    assert len(from_arrays(annotated(), validation=5).train) == 15


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (annotated(), {"fields": ["aeg"]}, r"'aeg', which obs of train does not have.* perhaps 'age'"),
        (annotated(), {"layer": "thrice"}, r"layer 'thrice'.* expected one of twice"),
        (annotated(isbacked=True), {}, r"backed by a file, expected train\.to_memory\(\)"),
        (annotated(X=None), {}, r"without X, expected a layer: twice"),
        (X, {"fields": ["age"]}, r"no AnnData: give arrays by name"),
    ],
)
def test_what_an_anndata_lacks_is_told(train, options, message):
    with pytest.raises(DataError, match=message):
        from_arrays(train, **options)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="tried in a process of its own")
def test_damage_that_ends_hdf5_by_a_signal_ends_no_process(path, monkeypatch):
    """Found by mutating files (`tests.torture.mutate_data`): a byte of the type of a text."""
    assert survives(lambda: 1 / 0)
    assert not survives(lambda: os.kill(os.getpid(), signal.SIGSEGV))
    assert not survives(lambda: time.sleep(30), seconds=1)
    module = sys.modules["ppl_vae.datasets.h5ad"]  # whose name is the function's, too
    monkeypatch.setattr(module, "_column", lambda stored: os.kill(os.getpid(), signal.SIGSEGV))
    with pytest.raises(DataError, match=r"cells\.h5ad, in whose texts HDF5 breaks down"):
        h5ad(path)
