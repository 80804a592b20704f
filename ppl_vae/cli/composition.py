"""Hydra's composition of a job, with the defaults of signatures beneath it.

A `_target_` of this package has every key of its signature; one that replaces another gets none of the old one's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, get_type_hints

import hydra._internal.hydra as hydra_main
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.default_element import GroupDefault, ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException
from yaml.error import YAMLError  # type: ignore[import-untyped]

from ppl_vae.cli import launchers
from ppl_vae.cli.replaced import replaced
from ppl_vae.config.layers import TARGET, Layer, Source, keep_own
from ppl_vae.config.schema import conf_dir, near
from ppl_vae.config.signature import additions
from ppl_vae.config.verbs import SCHEMAS
from ppl_vae.errors import PplVaeError, UsageError

OVERLAYS = ("experiment", "hparams_search")
"""The groups whose options set keys of the whole config, and of which several may be chosen."""

OPEN = frozenset({"given"})
"""Keys whose own keys are the user's to name."""

NAMED = frozenset({"model.prior"})
"""Keys that were once of ready-made models, see `config.parts.with_parts`."""

LOOSE = "keys given to another target"
"""Under `hydra.runtime.choices`, open and travelling with a job: names of keys that its targets may do without."""


class Loader(ConfigLoaderImpl):
    """Composes as Hydra does and remembers the layers: every job of a sweep passes here, wherever it runs."""

    def _load_configuration_impl(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        OverridesParser.create().parse_overrides(overrides)  # what cannot be read is named as it was typed
        overrides = with_open_targets(overrides)
        parsed, repo = self._parse_overrides_and_create_caching_repo(config_name, overrides)
        _refuse_choices(parsed, repo, config_name)
        with _expected(overrides, lambda alone: self._composed(config_name, [alone], run_mode, False, False)):
            cfg = self._composed(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        if "hydra" in cfg:
            _refuse_texts(cfg.hydra, "hydra")
        plain: Any = OmegaConf.to_container(cfg, resolve=False)
        hydra = plain.pop("hydra", None)
        kept = keep_own(plain, [*self._layers, Layer(Source.typed, _typed(parsed))])
        with read_write(cfg), open_dict(cfg):
            _reduce(cfg, kept.values, but=() if hydra is None else ("hydra",))
            cfg.merge_with(additions(kept.values))
            if kept.loose:
                cfg.hydra.runtime.choices[LOOSE] = sorted(kept.loose)
        return cfg

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        """A key that a verb declares with names of its own, as `prior` of `ppl-vae prior`, is no group to that verb."""
        parsed, repo = super()._parse_overrides_and_create_caching_repo(config_name, overrides)
        schema = SCHEMAS.get(config_name or "")
        kinds = get_type_hints(schema) if schema else {}
        is_group = repo.group_exists
        names = {key for key, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Enum)}
        held: Any = repo
        held.group_exists = lambda group: group not in names and is_group(group)
        return parsed, repo

    def _composed(self, *arguments: Any) -> DictConfig:
        """As Hydra composes, the layers of this composition alone remembered."""
        self._layers: list[Layer] = []
        return super()._load_configuration_impl(*arguments)

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        cfg = super()._compose_config_from_defaults_list(defaults, repo)
        plain: Any = OmegaConf.to_container(cfg, resolve=False)
        layers = [(Layer(Source.package, additions(layer.values, plain)), layer) for layer in self._layers]
        for beneath, _ in layers:  # before what was typed: `model.hidden=[9]` is a key of the signature, if of no file
            cfg.merge_with(_without_targets(beneath.values))
        self._layers = [layer for pair in layers for layer in pair]
        return cfg

    def _load_single_config(self, default: ResultDefault, repo: Any) -> ConfigResult:
        group, _, option = (default.config_path or "").rpartition("/")
        with launchers.laid_over(group):
            loaded = super()._load_single_config(default, repo)
        if group in OVERLAYS and default.package == group:
            raise UsageError(
                f"{group}={option}: its keys are read as {group}.KEY; begin {loaded.path.partition('://')[2]}/{group}/"
                f"{option}.yaml with the line `# @package _global_`"
            )
        if isinstance(loaded.config, DictConfig):
            if group == launchers.GROUP:
                launchers.complete(option, loaded.config)
            values: Any = OmegaConf.to_container(loaded.config, resolve=False)
            self._layers.append(Layer(_source(loaded.path), values))
        return loaded


def _refuse_texts(config: Any, at: str) -> None:
    """Refuse an interpolation to a text where Hydra goes through keys or a list: it takes it for one without looking.

    Raises:
        UsageError: naming the key, and what it stands for.
    """
    keys = range(len(config)) if isinstance(config, ListConfig) else list(config)
    for key in keys:
        node, where = config._get_node(key, validate_access=False), f"{at}.{key}"
        if not isinstance(node, (DictConfig, ListConfig)) or node._is_missing() or node._is_none():
            continue
        if not node._is_interpolation():
            _refuse_texts(node, where)
            continue
        found = node._dereference_node()
        if not isinstance(found, type(node)):
            kind = "keys" if isinstance(node, DictConfig) else "a list"
            raise UsageError(f"{where}: got {node._value()}, which is {found._value()!r:.60}, expected {kind}")


@contextlib.contextmanager
def _expected(overrides: Sequence[str], compose: Callable[[str], object]) -> Iterator[None]:
    """Hydra's own code meets some command lines with ValueErrors and assertions: name the word that it fails on.

    Raises:
        UsageError: in place of an error that is none of Hydra's kinds.
    """
    kinds = (HydraException, OmegaConfBaseException, PplVaeError, YAMLError)
    try:
        yield
    except kinds:
        raise
    except Exception as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        word = next((word for word in overrides if _fails_alone(word, compose, type(error))), " ".join(overrides))
        raise UsageError(f"{word}: this cannot be composed ({said})") from error


def _fails_alone(word: str, compose: Callable[[str], object], kind: type[Exception]) -> bool:
    try:
        compose(word)
    except Exception as error:
        return type(error) is kind
    return False


def _refuse_choices(overrides: Sequence[Override], repo: CachingConfigRepository, config_name: str | None) -> None:
    """Answer for Hydra what is no choice of a group: a number, several options, `+` before a group that has one."""
    for override in overrides:
        group = override.key_or_group
        if not repo.group_exists(group) or override.is_sweep_override():
            continue
        value: Any = override.value()
        said = override.input_line or group
        several = isinstance(value, list) and (group in OVERLAYS or not (conf_dir() / group).is_dir())
        if not (isinstance(value, str) or several or (override.is_delete() and value is None)):
            options = repo.get_group_options(group)
            if isinstance(value, list):
                raise UsageError(
                    f"{said}: got several options, expected one; {near('', options)} "
                    f"(-m {group}=A,B makes a run of each)"
                )
            if isinstance(value, dict):
                raise UsageError(
                    f"{said}: got keys, expected an option of {group}; set keys one by one: {group}.KEY=VALUE"
                )
            raise UsageError(f"{said}: no such option; {near('none' if value is None else str(value), options)}")
        if override.is_add() and override.package is None and _has_choice(repo, config_name, group):
            raise UsageError(f"{said}: {group} has a choice already, which + cannot add to; type {said.lstrip('+')}")


def _has_choice(repo: CachingConfigRepository, config_name: str | None, group: str) -> bool:
    primary = repo.load_config(config_name) if config_name else None
    entries = getattr(primary, "defaults_list", None) or ()
    return any(isinstance(entry, GroupDefault) and entry.group == group for entry in entries)


def _source(path: str) -> Source:
    ours = (f"file://{conf_dir()}", "structured://", "pkg://hydra.conf")
    return Source.package if path in ours else Source.file


def with_open_targets(overrides: Sequence[str]) -> list[str]:
    """After `model._target_=…`, let `model.depth=3` add a key that the old option lacked.

    The same for targets inside a group: `estimator.z._target_=…`, `objective.beta._target_=…`, and for `given.label=3`,
    whose names are those of a model's arguments. Whether the new target
    names the key is checked against its signature when the job starts.

    Example:
        >>> with_open_targets(["model._target_=mine.Model", "model.depth=3", "seed=1"])
        ['++model._target_=mine.Model', '++model.depth=3', 'seed=1']
    """
    keys = [o.split("=", 1)[0].lstrip("+~") for o in overrides]
    replaced = {key.split(".", 1)[0] for key in keys if key.endswith(f".{TARGET}")} | OPEN
    opened = [key in NAMED or (key.split(".", 1)[0] in replaced and ("." in key or key in OPEN)) for key in keys]
    return [f"++{o}" if is_open and o[0] not in "+~" else o for o, is_open in zip(overrides, opened, strict=True)]


def _typed(overrides: Sequence[Override]) -> dict[str, Any]:
    """The typed overrides as a tree; a choice of a group is a leaf of its name."""
    tree: dict[str, Any] = {}
    for override in overrides:
        if override.is_delete() or override.is_sweep_override():
            continue
        *parents, last = override.key_or_group.split(".")
        node = tree
        for part in parents:
            inner = node.get(part)
            node[part] = node = inner if isinstance(inner, dict) else {}
        value: Any = override.value()
        old = node.get(last)
        node[last] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return tree


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        k: _merged(old[k], v) if isinstance(old.get(k), dict) and isinstance(v, dict) else v for k, v in new.items()
    }
    return {**old, **both}


def _without_targets(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _without_targets(v) if isinstance(v, Mapping) else v for k, v in values.items() if k != TARGET}


def _reduce(node: DictConfig, kept: Mapping[str, Any], but: Sequence[str] = ()) -> None:
    """Delete the keys that were not kept, in place: interpolations, types and flags of the others stay."""
    keys: list[Any] = [k for k in node if k not in but]
    for key in keys:
        if key not in kept:
            del node[key]
        elif isinstance(kept[key], Mapping) and isinstance(inner := node._get_node(key), DictConfig):
            _reduce(inner, kept[key])


def own_loader() -> contextlib.AbstractContextManager[None]:
    """Let `hydra.main` compose with `Loader`."""
    return replaced(hydra_main, ConfigLoaderImpl=Loader)
