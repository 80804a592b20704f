"""Hydra's composition of a job, except that a `_target_` which replaces another gets none of the old one's defaults."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import hydra._internal.hydra as hydra_main
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ppl_vae.config.layers import TARGET, Layer, Source, keep_own
from ppl_vae.config.schema import conf_dir

LOOSE = "loose"
"""Where Hydra's own config of a job names the keys that its target may do without: `hydra.runtime.loose`."""


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
        self._layers: list[Layer] = []
        overrides = with_open_targets(overrides)
        cfg = super()._load_configuration_impl(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        parsed = OverridesParser.create().parse_overrides(overrides)
        plain: Any = OmegaConf.to_container(cfg, resolve=False)
        hydra = plain.pop("hydra", None)
        kept = keep_own(plain, [*self._layers, Layer(Source.typed, _typed(parsed))])
        with read_write(cfg), open_dict(cfg):
            _reduce(cfg, kept.values, but=() if hydra is None else ("hydra",))
            if kept.loose:
                cfg.hydra.runtime[LOOSE] = sorted(kept.loose)
        return cfg

    def _load_single_config(self, default: ResultDefault, repo: Any) -> ConfigResult:
        loaded = super()._load_single_config(default, repo)
        if isinstance(loaded.config, DictConfig):
            values: Any = OmegaConf.to_container(loaded.config, resolve=False)
            self._layers.append(Layer(_source(loaded.path), values))
        return loaded


def _source(path: str) -> Source:
    ours = (f"file://{conf_dir()}", "structured://", "pkg://hydra.conf")
    return Source.package if path in ours else Source.file


def with_open_targets(overrides: Sequence[str]) -> list[str]:
    """Where `model._target_=…` is typed, let `model.depth=3` add a key that the old option lacked.

    The same for targets inside a group: `estimator.z._target_=…`, `objective.beta._target_=…`. Whether the new target
    names the key is checked against its signature when the job starts.

    Example:
        >>> with_open_targets(["model._target_=mine.Model", "model.depth=3", "seed=1"])
        ['++model._target_=mine.Model', '++model.depth=3', 'seed=1']
    """
    keys = [o.split("=", 1)[0].lstrip("+~") for o in overrides]
    replaced = {key.split(".", 1)[0] for key in keys if key.endswith(f".{TARGET}")}
    opened = [key.split(".", 1)[0] in replaced and "." in key for key in keys]
    return [f"++{o}" if is_open and o[0] not in "+~" else o for o, is_open in zip(overrides, opened, strict=True)]


def _typed(overrides: Sequence[Override]) -> dict[str, Any]:
    """What was typed, as a tree; a choice of a group is a leaf of its name."""
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
    both = {k: _merged(old[k], v) if isinstance(old.get(k), dict) and isinstance(v, dict) else v for k, v in new.items()}
    return {**old, **both}


def _reduce(node: DictConfig, kept: Mapping[str, Any], but: Sequence[str] = ()) -> None:
    """Delete the keys that were not kept, in place: interpolations, types and flags of the others stay."""
    for key in [k for k in node if k not in but]:
        if key not in kept:
            del node[key]
        elif isinstance(kept[key], Mapping) and isinstance(inner := node._get_node(key), DictConfig):
            _reduce(inner, kept[key])


@contextlib.contextmanager
def own_loader() -> Iterator[None]:
    """Let `hydra.main` compose with `Loader`: it offers no other way to choose one."""
    before = hydra_main.ConfigLoaderImpl  # type: ignore[attr-defined]
    hydra_main.ConfigLoaderImpl = Loader  # type: ignore[attr-defined]
    try:
        yield
    finally:
        hydra_main.ConfigLoaderImpl = before  # type: ignore[attr-defined]
