"""The text of `VERB --help`: the groups, and every key with its value and the signature's words on it.

The words stand where the keys are declared: in the docstring of a `_target_`, of a verb's dataclass, of `ppl_vae.fit`;
of what other packages make, in comments beside the keys of the option that names it.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import string
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

import hydra._internal.hydra as hydra_main
import yaml  # type: ignore[import-untyped]
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ppl_vae.cli.replaced import replaced
from ppl_vae.config.layers import TARGET
from ppl_vae.config.schema import about, conf_dir
from ppl_vae.config.signature import Parameter, arguments, is_ours, parameters
from ppl_vae.config.targets import options
from ppl_vae.config.verbs import DOORS
from ppl_vae.display import wrapped

Row = tuple[str, str]
"""A key with its value, indented, and what is said of it."""


@contextlib.contextmanager
def own_help(schema: type) -> Iterator[None]:
    """Let Hydra print the help of a verb as `text` has it: it prints values alone."""

    def get_help(self: Any, help_cfg: DictConfig, cfg: DictConfig, args_parser: Any, resolve: bool) -> str:
        width = shutil.get_terminal_size((100, 24)).columns
        groups = self.format_config_groups(lambda group: group.split("/")[0] != "hydra")
        template = wrapped(string.Template(help_cfg.template).safe_substitute(APP_CONFIG_GROUPS=groups), width)
        return string.Template(template).substitute(CONFIG=text(cfg, schema, resolve=resolve, width=width))

    with replaced(hydra_main.Hydra, get_help=get_help):
        yield


def text(cfg: DictConfig, schema: type, *, resolve: bool, width: int) -> str:
    """The keys of a composed config as YAML, with the words as comments beside them."""
    plain: Any = OmegaConf.to_container(cfg, resolve=resolve, enum_to_str=True)
    rows = list(_rows(plain, _of_schema(schema) | _of_groups(plain), schema))
    column = min(max(len(left) for left, _ in rows), 2 * width // 5) + 2
    return "\n".join(line for row in rows for line in _lines(row, column, width)) + "\n"


def _rows(node: Mapping[str, Any], words: Mapping[str, Parameter], schema: Any, indent: str = "") -> Iterator[Row]:
    kinds = get_type_hints(schema) if isinstance(schema, type) else {}
    for key, value in node.items():
        said = _said(words[key]) if key in words else ""
        if isinstance(value, Mapping) and value:
            kind = kinds.get(key)
            target = value.get(TARGET)
            below = parameters(target) if is_ours(target) else _of_schema(kind) or _of_option(key)
            yield f"{indent}{key}:", said
            yield from _rows(value, below, kind, f"{indent}  ")
        else:
            yield f"{indent}{key}: {_as_yaml(value)}", said


def _as_yaml(value: Any) -> str:
    said = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return str(said).removesuffix("...\n").strip()


def _of_schema(schema: Any) -> dict[str, Parameter]:
    """The words of a dataclass's keys, from its docstring and its parents', or from the function that takes them."""
    if not isinstance(schema, type) or not hasattr(schema, "__dataclass_fields__"):
        return {}
    if schema in DOORS:
        return parameters(DOORS[schema])
    said = {k: v for kind in reversed(schema.__mro__) for k, v in arguments(kind.__doc__ or "").items()}
    return {
        key: Parameter(choices=tuple(options(hint)), words=said.get(key, ""))
        for key, hint in get_type_hints(schema).items()
    }


def _of_option(group: str) -> dict[str, Parameter]:
    """The words beside the keys of the chosen option of a group."""
    file = conf_dir() / group / f"{HydraConfig.get().runtime.choices.get(group)}.yaml"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {m[1]: Parameter(words=m[2]) for line in lines if (m := re.fullmatch(r"(\w+):[^#]*\s# (.+)", line))}


def _of_groups(plain: Mapping[str, Any]) -> dict[str, Parameter]:
    """The chosen option of a group, and its meaning."""
    found = {}
    for group, option in HydraConfig.get().runtime.choices.items():
        file = conf_dir() / str(group) / f"{option}.yaml"
        if group in plain and option is not None:
            found[group] = Parameter(words=f"{option}: {about(file)}" if file.is_file() else str(option))
    return found


def _said(parameter: Parameter) -> str:
    """The first sentence, and the choices where it does not name them."""
    first = re.split(r"(?<=[^.]{2})\. (?=[A-Z])", parameter.words, maxsplit=1)[0].removesuffix(".")
    if all(choice in first for choice in parameter.choices):
        return first
    named = " | ".join(parameter.choices)
    return f"{named}: {first}" if first else named


def _lines(row: Row, column: int, width: int) -> Iterator[str]:
    left, said = row
    beside = textwrap.wrap(said, max(width - column - 2, 20), break_long_words=False, break_on_hyphens=False)
    if not beside:
        yield left
        return
    if len(left) + 2 > column:
        yield left
        left = ""
    for line in beside:
        yield f"{left:<{column}}# {line}"
        left = ""
