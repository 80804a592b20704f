"""Arrays → an `xarray.DataTree` in ArviZ's schema, and its file.

Imports no torch, so that it can be used, and tested, wherever ArviZ runs.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ppl_vae.errors import DataError, RunError
from ppl_vae.files import replacing
from ppl_vae.files.hdf5 import require_contained
from ppl_vae.version import __version__

SAMPLED = (
    "posterior",
    "unconstrained_posterior",
    "prior",
    "posterior_predictive",
    "prior_predictive",
    "log_likelihood",
    "sample_stats",
)
"""Groups whose variables may start with the dimensions `chain` and `draw`."""

DATUM = "datum"

Named = dict[str, tuple[tuple[str, ...], NDArray[Any]]]
"""The variables of a group: the names of their dimensions, and their values."""


@dataclass(frozen=True)
class Dimensions:
    """The names of the dimensions of variables.

    Attributes:
        local: names of variables that have one entry per datum.
        dims: names of a variable's own dimensions (after chain, draw and datum); others are called
            `<variable>_dim_0`, `<variable>_dim_1`, …
        coords: labels along a dimension; 0, 1, … where absent.
    """

    local: frozenset[str] = frozenset()
    dims: Mapping[str, Sequence[str]] = field(default_factory=dict)
    coords: Mapping[str, ArrayLike] = field(default_factory=dict)

    def own_dims(self, name: str, count: int) -> tuple[str, ...]:
        """Name the last `count` dimensions of a variable."""
        named = tuple(self.dims.get(name, ()))
        if named and len(named) != count:
            raise DataError(
                f"Variable {name!r} has {count} dimension(s) of its own, but {len(named)} name(s) given: "
                f"{', '.join(named)}. Name each one, or none."
            )
        return named or tuple(f"{name}_dim_{i}" for i in range(count))


def datatree(
    groups: Mapping[str, Mapping[str, ArrayLike]],
    dimensions: Dimensions | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """Name the dimensions of draws and data, and join them into one tree in ArviZ's schema.

    Args:
        groups: arrays by group and variable. In the groups `posterior`, `prior`, `posterior_predictive`,
            `prior_predictive` and `log_likelihood` an array is `(chain, draw, datum, *own)` for a local
            variable and `(chain, draw, *own)` for a global one; in `observed_data` and `constant_data` it is
            `(datum, *own)` or `own`. In `sample_stats` either form is understood: a variable named in
            `dimensions.local` with as many dimensions as `(chain, draw, datum)` has them, one with fewer is
            `(datum,)`.
        dimensions: names of dimensions and their labels.
        attrs: attributes of the whole tree: seeds, guide, run.

    Returns:
        The tree. Coordinates `chain`, `draw`, `datum` and all labelled dimensions are set.

    Raises:
        DataError: if two variables disagree about the length of a dimension.

    References:
        Kumar, Carroll, Hartikainen and Martin (2019), ArviZ a unified library for exploratory analysis of Bayesian
            models in Python, https://doi.org/10.21105/joss.01143

    >>> z = np.zeros((1, 100, 5, 2))                                    # (chain, draw, datum, latent)
    >>> tree = datatree({"posterior": {"z": z}}, Dimensions(frozenset({"z"}), {"z": ["latent"]}))
    >>> dict(tree["posterior"].sizes)
    {'chain': 1, 'draw': 100, 'datum': 5, 'latent': 2}
    """
    dimensions = dimensions or Dimensions()
    tree = {}
    for group, arrays in named(groups, dimensions).items():
        tree[group] = xr.Dataset(arrays, coords=_coords(lengths_of(group, arrays), dimensions))
    return _rooted(tree, attrs)


def named(groups: Mapping[str, Mapping[str, ArrayLike]], dimensions: Dimensions) -> dict[str, Named]:
    """Name the dimensions of arrays as `datatree` does, and join nothing."""
    return {
        group: {name: _named(group, name, np.asarray(value), dimensions) for name, value in variables.items()}
        for group, variables in groups.items()
    }


def lengths_of(group: str, arrays: Named) -> dict[str, int]:
    """Give the length of each dimension of a group.

    Raises:
        DataError: if two variables disagree about one.
    """
    lengths: dict[str, tuple[int, str]] = {}
    for name, (dims, value) in arrays.items():
        for dim, length in zip(dims, value.shape, strict=True):
            known, first = lengths.setdefault(dim, (length, name))
            if known != length:
                raise DataError(
                    f"Group {group!r}: dimension {dim!r} has length {length} in {name!r} and {known} in "
                    f"{first!r}. Give them different names, or arrays of one length."
                )
    return {dim: length for dim, (length, _) in lengths.items()}


def _coords(lengths: Mapping[str, int], dimensions: Dimensions) -> dict[str, NDArray[Any]]:
    return {dim: _labels(dim, length, dimensions) for dim, length in lengths.items()}


def _rooted(tree: Mapping[str, xr.Dataset], attrs: Mapping[str, Any] | None) -> xr.DataTree:
    result = xr.DataTree.from_dict(tree)
    result.attrs.update({"inference_library": "ppl_vae", "inference_library_version": __version__, **(attrs or {})})
    return result


def _named(group: str, name: str, value: NDArray[Any], dimensions: Dimensions) -> tuple[tuple[str, ...], NDArray[Any]]:
    local = (DATUM,) * (name in dimensions.local)
    sampled = ("chain", "draw") if group in SAMPLED else ()
    if group == "sample_stats" and value.ndim < len(sampled + local):
        sampled = ()
    lead = sampled + local
    if value.ndim < len(lead):
        raise DataError(
            f"Group {group!r}: {name!r} has shape {value.shape}, expected it to start with {lead}. "
            "Add the missing dimensions; one chain is a first dimension of length 1."
        )
    own = value.ndim - len(lead)
    if group == "log_likelihood" and own == 0:  # densities are summed over the dimensions that the data have
        return lead, value
    return lead + dimensions.own_dims(name, own), value


def _labels(dim: str, length: int, dimensions: Dimensions) -> NDArray[Any]:
    labels = np.asarray(dimensions.coords.get(dim, np.arange(length)))
    if labels.shape != (length,):
        raise DataError(f"Dimension {dim!r} has length {length}, but {labels.shape} labels were given.")
    return labels


def skeleton(
    groups: Mapping[str, Named], dimensions: Dimensions, attrs: Mapping[str, Any] | None = None
) -> xr.DataTree:
    """Make the tree of all data, whose labels `dimensions` has, from the arrays of some of them, without variables."""
    tree = {}
    for group, arrays in groups.items():
        lengths = lengths_of(group, arrays)
        if DATUM in lengths:
            lengths[DATUM] = len(np.asarray(dimensions.coords[DATUM]))
        tree[group] = xr.Dataset(coords=_coords(lengths, dimensions))
    return _rooted(tree, attrs)


def save(tree: xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write a tree to a netCDF file, whole or not at all, compressed without loss.

    Raises:
        RunError: if the folder does not exist or cannot be written.
    """
    path = Path(path)
    encoding = {
        f"/{group}": {name: {"zlib": True, "complevel": 1, "shuffle": True} for name in _compressible(child)}
        for group, child in tree.children.items()
    }
    with replacing(path) as temporary:
        tree.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
    return path


def _compressible(group: xr.DataTree) -> list[str]:
    return [str(name) for name, value in group.data_vars.items() if value.ndim and value.dtype.kind in "biuf"]


LAZY = 2**30
"""Bytes from which a file is read when its values are used, not at once."""


def load(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a tree from netCDF (or Zarr) into memory and close the file; above a gigabyte values are read when used.

    Raises:
        RunError: if there is no such file, or it is no netCDF file.
    """
    path = Path(path)
    if not path.exists():
        raise RunError(f"No posterior at {path}. Make one with `ppl-vae posterior run=DIR`.")
    options: dict[str, Any] = {"engine": "h5netcdf"}
    if path.suffix == ".zarr":
        options = {"engine": "zarr", "consolidated": False, "chunks": None}
    else:
        require_contained(path)
    try:
        tree = xr.open_datatree(path, **options)
        if sum(child.nbytes for child in tree.children.values()) > LAZY:
            return tree
        with tree:
            return tree.load()
    except Exception as error:  # damage breaks its readers in more ways than can be listed
        raise RunError(f"{path} is no readable netCDF file ({error}). Delete it and make it again.") from error


def read_group(
    path: str | os.PathLike[str], group: str, names: Sequence[str] | None = None, *, data: int | None = None
) -> xr.Dataset:
    """Read one group of a netCDF file that was written here into memory; no variables where there is no such group.

    Args:
        path: of the file.
        group: its name.
        names: of the variables, of which those that are there are read; by default all.
        data: how many data at most, the first ones; by default all.

    Example:
        >>> import tempfile
        >>> tree = datatree({"observed_data": {"x": np.arange(5.0)}}, Dimensions(frozenset({"x"})))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save(tree, Path(folder) / "posterior.nc")
        ...     read_group(path, "observed_data", data=2)["x"].values.tolist(), list(read_group(path, "prior"))
        ([0.0, 1.0], [])
    """
    import h5py

    with h5py.File(path, "r") as file:
        if group not in file:
            return xr.Dataset()
    with xr.open_dataset(path, engine="h5netcdf", group=group) as found:
        some = found if names is None else found[[name for name in names if name in found]]
        return some.isel({DATUM: slice(data)}, missing_dims="ignore").load()
