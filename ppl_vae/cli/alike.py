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


class Configs(Sequence[DictConfig]):
    """The configs of jobs, each made when it is asked for.

    Args:
        compose: composes one, and raises what Hydra raises for one that is wrong.
        jobs: the overrides of each, which are all looked at now.
    """

    def __init__(self, compose: Compose, jobs: Sequence[Sequence[str]]) -> None:
        parser = OverridesParser.create()
        self._compose, self._jobs = compose, [list(job) for job in jobs]
        self._parsed = [parser.parse_overrides(with_open_targets(job)) for job in jobs]
        self._firsts: dict[int, int] = {}
        self._composed: dict[int, DictConfig] = {}
        kinds: dict[Any, list[int]] = {}
        for number, overrides in enumerate(self._parsed):
            kinds.setdefault(_kind(overrides), []).append(number)
        for first, *others in kinds.values():
            self._composed[first] = compose(self._jobs[first])
            self._look(first, others)

    def _look(self, first: int, others: Sequence[int]) -> None:
        """Find out which of some jobs are copies of the first."""
        if not others:
            return
        last, scratch = self._compose(self._jobs[others[-1]]), copy.deepcopy(self._composed[first])
        made = _changed(self._composed[first], self._parsed[first], self._parsed[others[-1]])
        holds = made is not None and _equal(made, last)
        for k in others:
            if holds and _takes(scratch, self._parsed[k]):
                self._firsts[k] = first
            elif k != others[-1]:
                self._compose(self._jobs[k])  # which tells what is wrong with it, if something is

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, number: Any) -> Any:
        """The config of a job, which is the caller's own."""
        if number in self._composed:
            return copy.deepcopy(self._composed[number])
        first = self._firsts.get(number)
        made = None
        if first is not None:
            made = _changed(self._composed[first], self._parsed[first], self._parsed[number])
        return self._compose(self._jobs[number]) if made is None else made


def _takes(config: DictConfig, overrides: Sequence[Override]) -> bool:
    """Set these keys of a config, and say whether it has them all and takes their values."""
    try:
        ConfigLoaderImpl._apply_overrides_to_config([o for o in overrides if _is_plain(o)], config)
    except Exception:
        return False
    return True


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
    said, told = made.hydra.overrides.task, [o.input_line for o in overrides if not o.is_hydra_override()]
    for place, line in enumerate(told, len(said) - len(told)):
        said[place] = line
    names = made.hydra.job.config.override_dirname
    tasks = OverridesParser.create().parse_overrides(list(said))
    made.hydra.job.override_dirname = get_overrides_dirname(
        overrides=tasks, kv_sep=names.kv_sep, item_sep=names.item_sep, exclude_keys=names.exclude_keys
    )
    return made


def _equal(one: DictConfig, other: DictConfig) -> bool:
    return bool(repr(OmegaConf.to_container(one)) == repr(OmegaConf.to_container(other)))
