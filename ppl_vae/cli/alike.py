"""Configs of jobs that differ in plain values alone: the first is composed, the others are copies of it.

Hydra composes every job from its files anew, a quarter of a second each. A value that is typed is the last thing that
is set, and decides nothing else. That a copy is what Hydra composes is looked at on the last job of each kind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from ppl_vae.cli.composition import with_open_targets

Compose = Callable[[list[str]], DictConfig]


def composed(compose: Compose, jobs: Sequence[Sequence[str]]) -> list[DictConfig]:
    """Give the config of every job.

    Args:
        compose: composes one.
        jobs: the overrides of each.
    """
    kinds: dict[Any, list[int]] = {}
    parser = OverridesParser.create()
    parsed = [parser.parse_overrides(with_open_targets(job)) for job in jobs]
    for number, overrides in enumerate(parsed):
        kinds.setdefault(_kind(overrides), []).append(number)
    found: dict[int, DictConfig] = {}
    for alike in kinds.values():
        first, *others = alike
        found[first] = compose(list(jobs[first]))
        copies = {k: _changed(found[first], parsed[first], parsed[k]) for k in others}
        if others:
            last = compose(list(jobs[others[-1]]))
            if (made := copies[others[-1]]) is None or not _equal(made, last):
                copies = dict.fromkeys(others)
            copies[others[-1]] = last
        for k in others:
            made = copies[k]
            found[k] = compose(list(jobs[k])) if made is None else made
    return [found[number] for number in range(len(jobs))]


def _kind(overrides: Sequence[Override]) -> Any:
    """All that a job's overrides say but for plain values."""
    return tuple((o.key_or_group, type(o.value())) if _is_plain(o) else o.input_line for o in overrides)


def _is_plain(override: Override) -> bool:
    value: Any = override.value()
    kept = override.type in (OverrideType.CHANGE, OverrideType.FORCE_ADD) and override.package is None
    return kept and isinstance(value, (int, float)) and not override.is_hydra_override()  # a text may be an option


def _changed(first: DictConfig, before: Sequence[Override], overrides: Sequence[Override]) -> DictConfig | None:
    """A copy with other values; None where one is not taken, which composing tells in its own words."""
    made = copy.deepcopy(first)
    changes = [new for old, new in zip(before, overrides, strict=True) if old.input_line != new.input_line]
    try:
        ConfigLoaderImpl._apply_overrides_to_config(changes, made)
    except Exception:
        return None
    said = made.hydra.overrides.task
    own = len(said) - sum(not o.is_hydra_override() for o in overrides)
    for place, override in enumerate(overrides, own):
        said[place] = override.input_line
    names = made.hydra.job.config.override_dirname
    tasks = OverridesParser.create().parse_overrides(list(said))
    made.hydra.job.override_dirname = get_overrides_dirname(
        overrides=tasks, kv_sep=names.kv_sep, item_sep=names.item_sep, exclude_keys=names.exclude_keys
    )
    return made


def _equal(one: DictConfig, other: DictConfig) -> bool:
    return bool(repr(OmegaConf.to_container(one)) == repr(OmegaConf.to_container(other)))
