"""Sites of a time series: z_0, z_1, …, z_28 of a program are one variable with a dimension of time."""

import re
from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from ppl_vae.core.site import Site
    from ppl_vae.core.terms import Terms

Series = Mapping[str, tuple[str, ...]]
"""The sites of each series in the order of time, by their stem."""

TIME = "time"
"""The name of the dimension."""

LEAST = 3
"""Sites that are a series: two may be the levels of a hierarchy."""

_NUMBERED = re.compile(r"(.+)_(0|[1-9][0-9]*)")


def series(kinds: Mapping[str, Hashable]) -> dict[str, tuple[str, ...]]:
    """Collect sites of one stem, of consecutive ascending numbers and of one kind: `z_0`, `z_1`, `z_2`, … are `z`.

    Sites whose numbers descend (the levels of a hierarchy from its top) are no series, nor are fewer than three.

    Args:
        kinds: what is equal for the sites of a series (shape, plates), by site, in the order of the program.

    Example:
        >>> series({"z_1": 2, "x_1": 5, "z_2": 2, "x_2": 5, "z_3": 2, "x_3": 5})
        {'z': ('z_1', 'z_2', 'z_3'), 'x': ('x_1', 'x_2', 'x_3')}
        >>> series({"z_3": 2, "z_2": 2, "z_1": 2}), series({"z_1": 2, "z_2": 4, "z_3": 2}), series({"z_1": 2, "z_2": 2})
        ({}, {}, {})
    """
    stems: dict[str, list[str]] = {}
    for name in kinds:
        if (found := _NUMBERED.fullmatch(name)) is not None:
            stems.setdefault(found[1], []).append(name)
    return {
        stem: tuple(names)
        for stem, names in stems.items()
        if len(names) >= LEAST
        and stem not in kinds
        and len({kinds[name] for name in names}) == 1
        and [*numbers(names)] == [*range(number(names[0]), number(names[0]) + len(names))]
    }


def number(name: str) -> int:
    """The number at the end of a site's name."""
    return int(name.rpartition("_")[2])


def numbers(names: Iterable[str]) -> tuple[int, ...]:
    """The numbers at the ends of names of sites: labels along time."""
    return tuple(map(number, names))


def series_of(t: "Terms") -> dict[str, tuple[str, ...]]:
    """The series among the sites of a model that stand in the data plate."""
    known = {**t.model, **t.contracted}  # those that were summed out come last here
    order = {name: place for place, name in enumerate(t.prepared.plates.parents)}
    names = sorted(known, key=lambda name: order.get(name, len(order)))
    return series_among({name: known[name] for name in names})


def series_among(sites: "Mapping[str, Site]") -> dict[str, tuple[str, ...]]:
    """The series among sites in the order of the model."""
    return series({name: _kind(site) for name, site in sites.items() if _is_step(site)})


def _is_step(site: "Site") -> bool:
    return site.is_local and not site.is_deterministic and site.fn is not None and bool(site.value.numel())


def _kind(site: "Site") -> Hashable:
    """The shape of a datum's value, plates, and whether it is data: equal for the sites of a series."""
    return tuple(site.value.shape[site.particle_axis + 2 :]), site.plates, site.is_observed


def stacked(arrays: Mapping[str, NDArray[Any]], found: Series, axis: int) -> dict[str, NDArray[Any]]:
    """Arrays by site, those of a series as one with a new axis of time.

    Example:
        >>> stacked({"z_0": np.zeros((2, 3)), "z_1": np.ones((2, 3))}, {"z": ("z_0", "z_1")}, 1)["z"].shape
        (2, 2, 3)
    """
    steps = {name: stem for stem, names in found.items() if names[0] in arrays for name in names}
    result: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        stem = steps.get(name)
        if stem is None:
            result[name] = array
        elif stem not in result:
            result[stem] = np.stack([arrays[step] for step in found[stem]], axis)
    return result


def seen(t: "Terms", name: str) -> Tensor:
    """A latent's values; of a step of a series with NaN where the model masks it, which is no part of the posterior.

    Any other masked latent keeps its law: what is masked is its cost.
    """
    q, p = t.latents[name], t.model.get(name)
    if p is None or not p.is_masked or p.value.shape != q.value.shape:
        return q.value
    return p.seen if any(name in names for names in series_of(t).values()) else q.value


def summed(t: "Terms", values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values by site, those of a series summed over time: KL, say, where masked steps are 0."""
    stems = {name: stem for stem, names in series_of(t).items() if names[0] in values for name in names}
    found: dict[str, Tensor] = {}
    for name, value in values.items():
        key = stems.get(name, name)
        found[key] = found[key] + value if key in found else value
    return found
