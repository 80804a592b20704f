"""Data in memory: `Dataset`, its `Spec` and `Split`, `from_arrays`, and one function per source."""

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.digits import digits
from ppl_vae.datasets.ppca import LinearGaussian, ppca
from ppl_vae.datasets.spec import Field, Spec
from ppl_vae.datasets.split import Split

__all__ = [
    "Dataset",
    "Field",
    "LinearGaussian",
    "Spec",
    "Split",
    "digits",
    "from_arrays",
    "ppca",
]
