"""`config.yaml`: all that decides which code a run brings, in one file that is written at once and read as data."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ppl_vae import files
from ppl_vae.errors import RunError, UsageError
from ppl_vae.files import seal
from ppl_vae.files.inside import RUN
from ppl_vae.runs import trust
from ppl_vae.runs.plain import LARGEST, parse
from ppl_vae.runs.schema import in_present_form

CONFIG = "config.yaml"
MADE_HERE = b"\n# made here: "
"""Begins the last line of a config that is sealed."""


@dataclass(frozen=True)
class Saved:
    """The config of a run.

    Attributes:
        values: plain values, targets under their present names.
        modules: the folders that modules of the user's own were imported from, as far as the seal says so.
        why: why the run is not taken for one that was made here; empty: it was, and nobody has changed it since.
    """

    values: dict[str, Any]
    modules: tuple[str, ...]
    why: str


def text_of(config: Mapping[str, Any], modules: Sequence[str] = (), *, sealed: bool = True) -> str:
    """The content of the file of a run that begins here.

    Args:
        config: resolved, enough to rebuild the pair.
        modules: the folders that modules of the user's own are imported from.
        sealed: the run is this user's own, not a stranger's that is gone on with.

    Raises:
        UsageError: for a value that would be a reference when it is read again.
    """
    if place := next(_references(config), None):
        raise UsageError(f"{place}: got a text with ${{, expected one without: a saved config holds no references")
    text = OmegaConf.to_yaml(OmegaConf.create(dict(config))).rstrip("\n")
    if sealed:
        try:
            told = {"user_modules": list(modules), "seal": trust.seal(text.encode(), list(modules))}
            text = f"{text}{MADE_HERE.decode()}{json.dumps(told)}\n"
        except trust.NoKeyError as error:
            warnings.warn(
                f"{error}: nobody can tell later that this run was made here. Where it names classes of your own, or "
                "files of data, what opens it will ask for trust=true",
                stacklevel=2,
            )
    return seal.sealed_text(text.rstrip())


def read(directory: Path, record: Mapping[str, Any]) -> Saved:
    """The config of a run, as data and in the present form: nothing that it names is looked for.

    Args:
        directory: of the run.
        record: its `run.json`.

    Raises:
        RunError: for what no run of ours holds.
    """
    path = directory / CONFIG
    try:
        content = seal.unsealed_text(files.read(path, LARGEST), path).encode()
    except FileNotFoundError as error:
        raise RunError(f"{path} cannot be read ({error}); expected the config that `train` wrote") from None
    text, mark, line = content.rpartition(MADE_HERE)
    values = parse(text if mark else content, path)  # what is read is what is sealed
    if not isinstance(values, dict):
        raise RunError(f"{path} is no config of a run; expected the one that `train` wrote")
    if place := next(_references(values), None):
        raise RunError(
            f"{path} cannot be read ({place} holds ${{: a saved config has no references, and none is followed)"
        )
    modules, why = _standing(text, line) if mark else ((), "it bears no seal of yours")
    return Saved(in_present_form(values, record, directory / RUN), modules, why)


def _standing(text: bytes, line: bytes) -> tuple[tuple[str, ...], str]:
    changed = "its seal is not yours: it was made elsewhere, or its config was changed since"
    try:
        told = json.loads(line)
        modules = told["user_modules"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return (), changed
    if not isinstance(modules, list) or not all(isinstance(folder, str) for folder in modules):
        return (), changed
    try:
        return (tuple(modules), "") if trust.is_sealed(told.get("seal"), text, modules) else ((), changed)
    except trust.NoKeyError as error:
        return (), f"{error}, by which it could be known as yours"


def _references(node: Any, place: str = "") -> Iterator[str]:
    """The dotted keys of texts that OmegaConf would take for interpolations."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            name = f"{place}.{key}" if place else str(key)
            if isinstance(key, str) and "${" in key:
                yield name
            yield from _references(value, name)
    elif isinstance(node, (list, tuple)):
        for number, value in enumerate(node):
            yield from _references(value, f"{place}.{number}")
    elif isinstance(node, str) and "${" in node:
        yield place
