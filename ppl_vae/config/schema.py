"""The schema of the command line: the folders of its files, and the check that closes Hydra's holes.

Imports no torch, see `keys`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppl_vae.config.refusals import type_error
from ppl_vae.config.verbs import SCHEMAS
from ppl_vae.errors import PplVaeError, UsageError, near_names

POSITIVE = (
    "num_particles",
    "draws",
    "data",
    "n",
    "simulations",
    "units",
    "batch_size",
    "results.num_particles",
    "results.draws",
    "results.data",
    "engine.threads",
    "steps",
)


def near(word: str, words: Iterable[str]) -> str:
    """Name the words close to a misspelt one, then all of them: `did you mean train? One of: …`."""
    choices = sorted(set(words))
    close = near_names(word, choices, most=2)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}expected one of: {', '.join(choices)}" if choices else hint.strip()


def conf_dir() -> Path:
    """The folder of configs: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def about(file: Path) -> str:
    """The words of a config on itself: the comment that it begins with, but for a line for Hydra."""
    lines = takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
    return " ".join(line.removeprefix("#").strip() for line in lines if not line.startswith("# @"))


def verbs() -> tuple[str, ...]:
    """The verbs there are: those with a primary config and a file in `cli/verbs`."""
    written = Path(__file__).resolve().parents[1] / "cli" / "verbs"
    return tuple(v for v in SCHEMAS if (conf_dir() / f"{v}.yaml").is_file() and (written / f"{v}.py").is_file())


def register(verb: str) -> None:
    """Tell Hydra the schema of one verb, as `VERB_schema`."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name=f"{verb}_schema", node=SCHEMAS[verb], provider="ppl_vae")


def validated(verb: str, cfg: DictConfig) -> DictConfig:
    """The config of a job, held to its schema and resolved.

    Plain Hydra lets `+trainer.epoch=3` through; merging into the schema again does not.

    Raises:
        UsageError: naming the key, the legal ones, and the type that was expected.
        PplVaeError: for a number out of range.
    """
    plain = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    schema = OmegaConf.structured(SCHEMAS[verb])
    assert isinstance(plain, dict)
    for path, key, legal in _unknown(plain, schema):
        raise UsageError(f"{path}: no such key; {near(key, legal)}")
    try:
        merged = OmegaConf.merge(schema, plain)
    except OmegaConfBaseException as error:
        raise UsageError(type_error(error)) from None
    assert isinstance(merged, DictConfig)
    missing = sorted(OmegaConf.missing_keys(merged))
    if missing:
        example = "DIR" if missing[0] in ("run", "sweep") else "VALUE"
        raise UsageError(f"{missing[0]} is needed and has no default: add {missing[0]}={example}")
    if OmegaConf.select(merged, "name") == "":
        raise UsageError("name: got an empty text, expected the name of a folder for the runs")
    for path in POSITIVE:
        value = OmegaConf.select(merged, path)
        if value is not None and not value > 0:
            raise PplVaeError(f"{path}: got {value}, expected a number above 0")
    if OmegaConf.select(merged, "chains", default=0) < 0:
        raise PplVaeError(f"chains: got {merged.chains}, expected a whole number of at least 0")
    _refuse_other(
        merged, "trainer.groups", DictConfig, "options by prefix of parameter names, such as {guide:{lr:1e-4}}"
    )
    _refuse_other(merged, "statistics", str, "functions by name, such as {ink:my_module.ink}")
    if OmegaConf.select(merged, "seed", default=0) < 0:
        raise PplVaeError(f"seed: got {merged.seed}, expected a whole number of at least 0")
    return merged


def _refuse_other(merged: DictConfig, path: str, kind: type, expected: str) -> None:
    """OmegaConf has no type for a mapping that may be null and holds mappings: hold it to its kind here."""
    value = OmegaConf.select(merged, path)
    if value is not None and not (isinstance(value, DictConfig) and all(isinstance(v, kind) for v in value.values())):
        raise UsageError(f"{path}: got {value}, expected {expected}")


def _unknown(plain: dict[Any, Any], schema: Any, prefix: str = "") -> Iterator[tuple[str, str, list[str]]]:
    for key, value in plain.items():
        legal = [str(k) for k in schema]
        if key not in legal:
            yield f"{prefix}{key}", str(key), legal
            continue
        node = None if OmegaConf.is_missing(schema, key) else schema[key]
        if isinstance(node, DictConfig) and isinstance(value, dict) and OmegaConf.get_type(node) is not dict:
            yield from _unknown(value, node, f"{prefix}{key}.")


def refuse_numbers(verb: str, overrides: Iterable[str]) -> None:
    """Refuse numbers but 0 and 1 that are typed for booleans: OmegaConf takes each of them for true.

    Raises:
        UsageError: naming the key.
    """
    schema = OmegaConf.structured(SCHEMAS[verb])
    for override in overrides:
        key, _, values = override.partition("=")
        key = key.lstrip("+~")
        if not re.fullmatch(r"\w+(\.\w+)*", key) or not isinstance(OmegaConf.select(schema, key), bool):
            continue
        for value in values.split(","):
            if re.fullmatch(r"[-+]?[\d.][\d._]*(e[-+]?\d+)?", value, re.IGNORECASE) and value not in ("0", "1"):
                raise UsageError(f"{key}: got {value}, expected true or false")


def describe(schema: type) -> list[str]:
    """The names of the keys of a schema, for messages."""
    return [f.name for f in fields(schema)]
