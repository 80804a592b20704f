"""The one place where ArviZ is imported: generation 0.23 (Python 3.11) and generation 1 (3.12 and later).

Everything else in ppl_vae holds plain `xarray` objects. Imports no torch.
"""

import warnings
from typing import Any, Literal

import numpy as np
import xarray as xr

with warnings.catch_warnings():
    # 0.23 announces its successor at import; the announcement is not about this code.
    warnings.simplefilter("ignore", FutureWarning)
    import arviz as az

GENERATION = int(az.__version__.split(".")[0])


def from_tree(tree: Any) -> Any:
    """Turn a `DataTree` into what this ArviZ works on: `InferenceData` (0.23) or the tree itself (≥ 1)."""
    return az.InferenceData.from_datatree(tree) if GENERATION == 0 and isinstance(tree, xr.DataTree) else tree


def to_tree(data: Any) -> xr.DataTree:
    """Invert `from_tree`."""
    if isinstance(data, xr.DataTree):
        return data
    tree = xr.DataTree.from_dict({group: data[group] for group in data.groups()})
    tree.attrs.update(data.attrs)
    return tree


def summary(data: Any, kind: Literal["all", "stats", "diagnostics"] = "stats", **kwargs: Any) -> Any:
    """Call `az.summary`, by default without chain diagnostics: an amortized guide's draws are independent."""
    return az.summary(from_tree(data), kind=kind, **kwargs)


def psis(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pareto-smooth log-weights `(particles, data)` with ArviZ; return them and k̂ `(data,)`.

    Generation 1 negates what it is given (it expects log-likelihoods), so it is given the negative: with
    the wrong sign a bad k̂ of 0.9 reads as an excellent −0.97.
    """
    weights = xr.DataArray(np.asarray(log_weights, dtype=np.float64).T, dims=("datum", "__sample__"))
    if GENERATION == 0:
        smoothed, shape = az.psislw(weights, reff=1.0)
    else:
        smoothed, shape = (-weights).azstats.psislw(dim="__sample__", r_eff=1.0)
    return np.asarray(smoothed.transpose("__sample__", "datum")), np.asarray(shape)
