"""Names of variables, dimensions and labels in ArviZ's groups: made legal, or refused before anything is drawn."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ppl_vae.errors import DataError
from ppl_vae.inference_data.groups import DATUM

STATISTICS = ("log_weight", "pareto_k", "ess")
"""Variables of `sample_stats`."""


def variable_names(sites: Iterable[str], taken: Collection[str] = ()) -> dict[str, str]:
    """The variable of each site: its name, but for what netCDF and xarray reserve.

    A slash (as `pyro.contrib.autoname` writes it) becomes a dot; a name that is a dimension's or another variable's
    gets an underscore.

    Args:
        sites: names of the sites.
        taken: names of dimensions and of other variables.

    Raises:
        DataError: if two sites get one name.

    Example:
        >>> variable_names(["z", "encoder/z", "draw"])
        {'z': 'z', 'encoder/z': 'encoder.z', 'draw': 'draw_'}
    """
    reserved = {"chain", "draw", DATUM, *STATISTICS, *taken}
    names: dict[str, str] = {}
    for site in sites:
        name = site.replace("/", ".")
        name = f"{name}_" if name in reserved else name
        other = next((s for s, n in names.items() if n == name), None)
        if other is not None:
            raise DataError(
                f"Got sites {other!r} and {site!r}, expected names that differ as variables of a file: both are "
                f"{name!r} there. Rename one of them."
            )
        names[site] = name
    return names


def check_dims(dims: Mapping[str, Sequence[str]] | None, own: Mapping[str, Sequence[str]]) -> None:
    """Refuse names of dimensions that are none's.

    Args:
        dims: what the user gave, by site.
        own: the dimensions of each variable and site as they are called by themselves.

    Raises:
        DataError: for a site that is not there, or another number of dimensions.
    """
    for name, given in (dims or {}).items():
        if name not in own:
            raise DataError(f"Got dims for {name!r}, expected names of sites: {', '.join(sorted(own))}. Correct it.")
        if isinstance(given, str) or len(given) != len(own[name]):
            raise DataError(
                f"Got dims={list(given) if not isinstance(given, str) else given!r} for {name!r}, expected "
                f"{len(own[name])} names, in place of {list(own[name])}. Name each dimension, or none."
            )


def check_coords(coords: Mapping[str, Any] | None, sizes: Mapping[str, int]) -> None:
    """Refuse labels along dimensions that are not there, or of another number.

    Args:
        coords: what the user gave, by dimension.
        sizes: of all dimensions.

    Raises:
        DataError: for either.
    """
    for dim, labels in (coords or {}).items():
        if dim == "draw" or dim not in sizes:
            known = ", ".join(sorted(name for name in sizes if name != "draw"))
            raise DataError(f"Got coords for the dimension {dim!r}, expected one of {known}. Correct it.")
        shape = np.asarray(labels).shape
        if shape != (sizes[dim],):
            raise DataError(
                f"Got coords of shape {shape} for the dimension {dim!r}, expected {sizes[dim]} labels. Give one for "
                "each of its entries."
            )
