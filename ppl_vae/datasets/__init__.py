"""Data: `Dataset`, its `Spec` and `Split`, `from_arrays`, and one function per source."""

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.columns import to_frame
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.digits import digits
from ppl_vae.datasets.h5ad import h5ad
from ppl_vae.datasets.idx import idx
from ppl_vae.datasets.load import load
from ppl_vae.datasets.mnist import fashion_mnist, mnist
from ppl_vae.datasets.npz import npy, npz
from ppl_vae.datasets.several import Several
from ppl_vae.datasets.spec import ColumnKind, Field, Spec
from ppl_vae.datasets.split import Split
from ppl_vae.datasets.sprites import sprites
from ppl_vae.datasets.synthetic import Bars, LinearGaussian, bars, ppca
from ppl_vae.datasets.tables import arrow, csv, parquet
from ppl_vae.doors import doors
from ppl_vae.errors import DataError

__all__ = [
    "Bars",
    "ColumnKind",
    "Dataset",
    "Field",
    "LinearGaussian",
    "Several",
    "Spec",
    "Split",
    "arrow",
    "bars",
    "csv",
    "digits",
    "fashion_mnist",
    "from_arrays",
    "h5ad",
    "idx",
    "load",
    "mnist",
    "npy",
    "npz",
    "parquet",
    "ppca",
    "sprites",
    "to_frame",
]

doors(__name__, DataError)
