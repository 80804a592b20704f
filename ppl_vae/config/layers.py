"""Layers of a composed config: only keys that were written for a `_target_` reach it.

A config is layers merged one over the other: the files of this package, files of the user's own, what was typed.
Where a later layer names another `_target_`, the values that this package gave the old one mean nothing to the new
one, which has defaults of its own. Works on plain values without torch, so that `--cfg job` shows what a job will use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ppl_vae.errors import UsageError

TARGET = "_target_"


class Source(Enum):
    """The origin of a layer."""

    package = "package"
    """A file of this package, or the config of a run that goes on: defaults of what it names."""
    file = "file"
    """A file of the user's own: what it holds is meant, but it may be meant for the target that it names."""
    typed = "typed"
    """The command line: always meant."""


@dataclass(frozen=True)
class Layer:
    """One layer of a config, as plain values."""

    source: Source
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Kept:
    """The rest of a config.

    Attributes:
        values: the config without the values that were written for another target.
        loose: dotted names of keys that a user's file gave to another target: the present one gets those that it names.
    """

    values: dict[str, Any]
    loose: frozenset[str]


def keep_own(values: Mapping[str, Any], layers: Sequence[Layer]) -> Kept:
    """Leave out of a merged config what the package's files gave to targets that have been replaced.

    Args:
        values: the merged config, plain and unresolved.
        layers: what it was merged from, the last one on top.

    Raises:
        UsageError: where one element was typed of a list that belonged to the old target.

    Example:
        >>> ours = {"_target_": "ppl_vae.models.VAE", "latent_dim": 8, "hidden": [9]}
        >>> package = Layer(Source.package, {"model": ours})
        >>> typed = Layer(Source.typed, {"model": {"_target_": "mine.Model", "hidden": [9]}})
        >>> merged = {"model": {"_target_": "mine.Model", "latent_dim": 8, "hidden": [9]}}
        >>> keep_own(merged, [package, typed]).values
        {'model': {'_target_': 'mine.Model', 'hidden': [9]}}
    """
    loose: set[str] = set()
    parts = {index: layer.values for index, layer in enumerate(layers)}
    kept = _kept(values, parts, [layer.source for layer in layers], frozenset(), frozenset(), "", loose)
    return Kept(kept, frozenset(loose))


def _kept(
    node: Mapping[str, Any],
    parts: Mapping[int, Mapping[str, Any]],
    sources: Sequence[Source],
    foreign: frozenset[int],
    doubtful: frozenset[int],
    path: str,
    loose: set[str],
) -> dict[str, Any]:
    """One node: `parts` are layers that hold it; of `foreign` ones nothing stays, of `doubtful` ones it is loose."""
    target = node.get(TARGET)
    if isinstance(target, str):
        foreign = foreign | _written_for_another(target, parts, sources, Source.package, strict=True)
        doubtful = doubtful | _written_for_another(target, parts, sources, Source.file, strict=False)
    result: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{path}{key}"
        holders = {index: part[key] for index, part in parts.items() if key in part}
        inner = {index: part for index, part in holders.items() if isinstance(part, Mapping)}
        if isinstance(value, Mapping):
            below = _kept(value, inner, sources, foreign, doubtful, f"{name}.", loose)
            if below or not (value or holders.keys() <= foreign):
                result[key] = below
            continue
        whole = [index for index in holders if index not in inner]
        if whole and whole[-1] in foreign:
            elements = [k for index, part in inner.items() if index > whole[-1] for k in part]
            if elements:
                raise UsageError(
                    f"{name}.{elements[0]}: one element of a list that belonged to the _target_ that is replaced; "
                    f"give the whole list: {name}=[…]"
                )
            continue
        if whole and whole[-1] in doubtful and key != TARGET:
            loose.add(name)
        result[key] = value
    return result


def _written_for_another(
    target: str, parts: Mapping[int, Mapping[str, Any]], sources: Sequence[Source], source: Source, *, strict: bool
) -> frozenset[int]:
    """The layers of a source at which, among its own, another target was in force (`strict`: or none)."""
    found, in_force = [], None
    for index, part in parts.items():
        if sources[index] is source:
            in_force = part.get(TARGET, in_force)
            if in_force != target and (strict or in_force is not None):
                found.append(index)
    return frozenset(found)
