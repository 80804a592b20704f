"""Random cases of data: how values are made, stored, held and spoilt."""

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from torch.utils.data import DataLoader, TensorDataset

import ppl_vae as pv

COLUMNS = 3

FLOATS = ["float16", "float32", "float64", ">f8", "bfloat16"]
WHOLE = ["int8", "int16", ">i4", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
CONTAINERS = [
    *("numpy", "torch", "tuple", "fortran", "reversed", "read-only", "mapped", "lists", "table", "sparse", "coo"),
    *("tensor set", "split", "npy", "sliced", "masked array", "sparse tensor", "nullable table"),
    *("list of tensors", "list of arrays", "loader", "objects", "text", "data set", "set", "generator"),
]
DEFECTS = ["", "", "", "", "nan", "inf", "outside", "ragged", "no rows", "no columns", "too large"]
SHAPES = ["data", "data", "data", "data", "one datum", "wide", "long", "one row", "two rows", "number"]


@dataclass(frozen=True)
class Case:
    """One way to hand data over.

    Attributes:
        pair: what observes the data: `normal`, `poisson`, `bernoulli`, `tokens`, `masked`.
        dtype: of the values.
        container: what holds them.
        shape: of the data.
        defect: what is wrong with them.
        row: where the defect is.
    """

    pair: str = "normal"
    dtype: str = "float32"
    container: str = "numpy"
    shape: str = "data"
    defect: str = ""
    row: int = 0


def draw(rng: random.Random) -> Case:
    """A random case."""
    pair = rng.choice(["normal", "poisson", "bernoulli", "tokens", "masked"])
    likely = WHOLE if pair == "tokens" else FLOATS if pair in ("normal", "masked") else [*FLOATS, *WHOLE, "bool"]
    dtype = rng.choice(likely if rng.random() < 0.8 else [*FLOATS, *WHOLE, "bool", "complex64"])
    shape, row = rng.choice(SHAPES), rng.choice([0, 1, 4, 139])
    return Case(pair, dtype, rng.choice(CONTAINERS), shape, rng.choice(DEFECTS), row)


def simpler(case: Case):
    """The case with one thing as plain as can be."""
    from dataclasses import replace

    for name, plain in vars(Case()).items():
        if getattr(case, name) != plain:
            yield replace(case, **{name: plain})


def values(case: Case) -> np.ndarray:
    """The values, as float64 or integers that the dtype holds."""
    rng = np.random.default_rng(0)
    n = {"one row": 1, "two rows": 2, "long": 150}.get(case.shape, 7)
    columns = COLUMNS + 1 if case.shape == "wide" else COLUMNS
    x = {
        "normal": lambda: rng.integers(-8, 8, (n, columns)) / 4,
        "masked": lambda: rng.integers(-8, 8, (n, columns)) / 4,
        "poisson": lambda: rng.integers(0, 6, (n, columns)).astype(float),
        "bernoulli": lambda: rng.integers(0, 2, (n, columns)).astype(float),
        "tokens": lambda: rng.integers(0, 7, (n, columns)).astype(float),
    }[case.pair]()
    row = min(case.row, n - 1)
    if case.defect == "outside":
        x[row, 1] = {"normal": np.inf, "masked": np.inf, "tokens": 9, "poisson": -1, "bernoulli": 5}[case.pair]
    if case.defect in ("nan", "inf"):
        x[row, 1] = float(case.defect)
    if (case.dtype[0] in "biu" and case.dtype != "bfloat16") or case.dtype == ">i4":
        x = np.nan_to_num(x, nan=1.0, posinf=1.0, neginf=1.0)
        x = np.abs(x) if case.dtype[0] in "ub" else x
    if case.defect == "no rows":
        x = x[:0]
    if case.defect == "no columns":
        x = x[:, :0]
    if case.shape in ("one datum", "number") and x.size:
        return x[0] if case.shape == "one datum" else x[0, 0]
    return x


def stored(case: Case, x: np.ndarray) -> np.ndarray:
    """The values in their dtype; numpy has no bfloat16."""
    x = np.asarray(x, dtype="float32" if case.dtype == "bfloat16" else case.dtype)
    if case.defect == "too large" and case.dtype == "uint64" and x.ndim:
        x = x.copy()
        x.flat[0] = 2**63
    return x


def held(case: Case, folder: Path):
    """The data in their container."""
    x = stored(case, values(case))

    def native():
        return x.astype(x.dtype.newbyteorder("="))

    def tensor():
        return torch.tensor(native()).to(torch.bfloat16 if case.dtype == "bfloat16" else torch.tensor(native()).dtype)

    def saved():
        with tempfile.NamedTemporaryFile(suffix=".npy", dir=folder, delete=False) as file:
            np.save(file, x)
        return file.name

    if case.defect == "ragged" and x.ndim == 2 and len(x) > 1:
        return [row[: -1 if i else None] for i, row in enumerate(x.tolist())]
    return {
        "numpy": lambda: x,
        "torch": tensor,
        "tuple": lambda: (x,),
        "fortran": lambda: np.asfortranarray(x),
        "reversed": lambda: x[::-1].copy()[::-1] if x.ndim else x,
        "read-only": lambda: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
        "mapped": lambda: np.load(saved(), mmap_mode="r"),
        "lists": lambda: x.tolist(),
        "table": lambda: pd.DataFrame(native()) if x.ndim == 2 else pd.Series(native()),
        "nullable table": lambda: pd.DataFrame(native()).convert_dtypes() if x.ndim > 1 else x,
        "sparse": lambda: scipy.sparse.csr_array(x.astype("float32")) if x.ndim == 2 and x.size else x,
        "coo": lambda: scipy.sparse.coo_matrix(x.astype("float32")) if x.ndim == 2 and x.size else x,
        "sparse tensor": lambda: tensor().to_sparse() if x.ndim == 2 and case.dtype in ("float32", "int64") else x,
        "tensor set": lambda: TensorDataset(tensor()) if x.ndim else x,
        "split": lambda: pv.datasets.from_arrays(x, scaling="none").train,
        "npy": lambda: pv.datasets.load("npy", path=saved(), validation=0, test=0, scaling="none").train,
        "sliced": lambda: np.repeat(x, 2, -1)[..., ::2] if x.ndim else x,
        "masked array": lambda: np.ma.masked_invalid(x) if case.dtype in FLOATS else np.ma.array(x),
        "list of tensors": lambda: list(tensor()) if x.ndim else [tensor()],
        "list of arrays": lambda: list(x) if x.ndim > 1 else [x],
        "loader": lambda: DataLoader(TensorDataset(tensor())) if x.size and x.ndim else [tensor()],
        "objects": lambda: x.astype(object),
        "text": lambda: x.astype(str),
        "data set": lambda: pv.datasets.from_arrays(x, scaling="none"),
        "set": lambda: {1, 2},
        "generator": lambda: (row for row in x) if x.ndim else x,
    }[case.container]()
