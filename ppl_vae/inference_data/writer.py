"""A posterior written to its file block by block, so that it never has to fit into memory. Imports no torch."""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ppl_vae.errors import DataError, RunError
from ppl_vae.files import replacing
from ppl_vae.inference_data.groups import DATUM, Dimensions, lengths_of, named, skeleton

Array = NDArray[Any]

SAMPLE = 2**14
"""Bytes of a variable that tell whether it is compressed."""

PAYS = 0.5
"""What part of them has to be left for that."""

LEVEL = 1
"""Of compression: the next ones take longer and gain a hundredth."""


class _Store(Protocol):
    def write(self, group: str, name: str, dims: tuple[str, ...], value: Array, n: int, at: slice) -> None: ...

    def close(self) -> None: ...


class PosteriorWriter:
    """Writes blocks of data one after the other; the suffix of the path says the format: `.nc` or `.zarr`.

    The file appears under its name when the block ends without an exception, whole or not at all.

    Args:
        path: where to.
        dimensions: of the variables, with the labels of all data.
        attrs: attributes of the whole tree.

    Raises:
        DataError: for another suffix, or `.zarr` without zarr.
        RunError: if the folder does not exist or cannot be written.

    >>> import tempfile
    >>> from ppl_vae.inference_data.groups import load
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "posterior.nc"
    ...     with PosteriorWriter(path, Dimensions(frozenset({"z"}), coords={"datum": np.arange(4)})) as stream:
    ...         for start in (0, 2):
    ...             stream.write({"posterior": {"z": np.full((1, 3, 2), start)}}, start)
    ...     load(path)["posterior"]["z"].values[0, 0].tolist()
    [0, 0, 2, 2]
    """

    def __init__(
        self, path: str | os.PathLike[str], dimensions: Dimensions, attrs: Mapping[str, Any] | None = None
    ) -> None:
        self.path = Path(path)
        self.dimensions, self.attrs = dimensions, attrs
        self.count = len(np.asarray(dimensions.coords[DATUM]))
        if self.path.suffix not in (".nc", ".zarr"):
            raise DataError(f"Got path={self.path.name!r}, expected a name that ends in .nc (netCDF) or .zarr (Zarr).")
        if not self.path.parent.is_dir():
            raise RunError(f"Got {self.path} to write to, expected a folder that exists: there is no such folder.")
        self.store: _Store | None = None
        self._replacing = replacing(self.path)

    def write(self, groups: Mapping[str, Mapping[str, ArrayLike]], start: int) -> None:
        """Write a block of data, of which `start` is the first: arrays as `datatree` takes them.

        A variable without the dimension `datum` is written with the first block.
        """
        arrays = named(groups, self.dimensions)
        if self.store is None:
            empty = skeleton(arrays, self.dimensions, self.attrs)
            self.store = (_Zarr if self.path.suffix == ".zarr" else _NetCDF)(self.temporary, empty)
        for group, variables in arrays.items():
            size = lengths_of(group, variables).get(DATUM, 0)
            for name, (dims, value) in variables.items():
                if DATUM in dims or start == 0:
                    self.store.write(group, name, dims, value, self.count, slice(start, start + size))

    def __enter__(self) -> "PosteriorWriter":
        self.temporary = self._replacing.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        if self.store is not None:
            self.store.close()
        self._replacing.__exit__(kind, error, trace)


def _index(dims: tuple[str, ...], at: slice) -> tuple[slice, ...]:
    return tuple(at if dim == DATUM else slice(None) for dim in dims)


def _shape(dims: tuple[str, ...], value: Array, n: int) -> tuple[int, ...]:
    """That of all n data."""
    return tuple(n if dim == DATUM else length for dim, length in zip(dims, value.shape, strict=True))


def _chunks(dims: tuple[str, ...], value: Array, n: int) -> tuple[int, ...]:
    """All draws of some data lie together: about a megabyte each."""
    rest = int(np.prod([length for length, dim in zip(value.shape, dims, strict=True) if dim != DATUM]))
    some = max(1, min(dict(zip(dims, value.shape, strict=True)).get(DATUM, 1), 2**18 // max(rest, 1)))
    shape = _shape(dims, value, n)
    return tuple(max(1, min(length, some if dim == DATUM else length)) for length, dim in zip(shape, dims, strict=True))


def _filters(value: Array) -> dict[str, Any]:
    """Choose how to pack a variable by its first bytes: as they are, by their places in numbers, or not at all.

    Draws of real numbers are noise: they lose a tenth of their size in the time that it takes to draw them.
    """
    first = np.ascontiguousarray(value.flat[: max(1, SAMPLE // value.itemsize)])
    together = first.view(np.uint8).reshape(-1, value.itemsize).T  # first bytes of all numbers, second ones, …
    plain, shuffled = (len(zlib.compress(data.tobytes(), LEVEL)) for data in (first, together))
    if min(plain, shuffled) > PAYS * first.nbytes:
        return {}
    return {"compression": "gzip", "compression_opts": LEVEL, "shuffle": shuffled < plain}


class _NetCDF:
    def __init__(self, path: Path, empty: xr.DataTree) -> None:
        import h5netcdf
        import h5py

        empty.to_netcdf(path, engine="h5netcdf")
        self.values = h5py.File(path, "a")
        self.file = h5netcdf.File(self.values, "a")

    def write(self, group: str, name: str, dims: tuple[str, ...], value: Array, n: int, at: slice) -> None:
        if name not in self.values[group]:
            options = {"chunks": _chunks(dims, value, n), **_filters(value)} if dims else {}
            whole = value.dtype == bool  # netCDF has no booleans: xarray's way to write, and to read, them
            made = self.file[group].create_variable(name, dims, np.int8 if whole else value.dtype, **options)
            if whole:
                made.attrs["dtype"] = "bool"
        self.values[group][name][_index(dims, at)] = value

    def close(self) -> None:
        self.file.close()
        self.values.close()


class _Zarr:
    def __init__(self, path: Path, empty: xr.DataTree) -> None:
        try:
            import zarr  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise DataError(
                "Writing .zarr takes the package zarr: pip install zarr, or choose a name in .nc."
            ) from None
        empty.to_zarr(path, consolidated=False)
        self.root = zarr.open_group(path, mode="r+")

    def write(self, group: str, name: str, dims: tuple[str, ...], value: Array, n: int, at: slice) -> None:
        key = f"{group}/{name}"
        if key not in self.root:
            chunks, shape = _chunks(dims, value, n), _shape(dims, value, n)
            self.root.create_array(key, shape=shape, dtype=value.dtype, chunks=chunks, dimension_names=list(dims))
        self.root[key][_index(dims, at)] = value

    def close(self) -> None:
        """Nothing is left to do: every write has reached the disk."""
