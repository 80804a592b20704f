"""YAML as data: no tag, no alias, no resolver, of bounded size and depth.

What a run directory says in YAML was resolved when it was written. Whoever wrote it since may not have meant well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ppl_vae.errors import RunError

LARGEST = 4 << 20
"""Bytes of a file."""

DEEPEST = 40
"""Mappings and lists within each other."""

MOST = 100_000
"""Scalars, and beginnings and ends of mappings and lists, in all."""

WIDEST = 2**64
"""No whole number is larger."""

_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?|\.[0-9_]+|[0-9][0-9_]*\.[0-9_]*)(?:[eE][-+]?[0-9]+)$")
"""`1e-3`, which YAML 1.1 calls a text and OmegaConf, who writes configs, a number."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, with OmegaConf's numbers, and with dates as the texts that they are."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def parse(content: bytes, path: Path) -> Any:
    """The value of a YAML text: mappings with plain keys, lists, numbers, texts, switches, null.

    Args:
        content: the text.
        path: where it is from, for messages.

    Raises:
        RunError: for anything else, for tags, anchors and aliases, and where it is too deep or too much.

    Example:
        >>> parse(b"a: {lr: 1e-3, day: 2026-11-22}", Path("config.yaml"))
        {'a': {'lr': 0.001, 'day': '2026-11-22'}}
        >>> parse(b"a: !!binary aGk=", Path("config.yaml"))
        Traceback (most recent call last):
        ppl_vae.errors.RunError: config.yaml cannot be read (line 1: a tag, tag:yaml.org,2002:binary)
    """
    try:
        text = content.decode()
        for problem in _problems(text):
            raise RunError(f"{path} cannot be read ({problem})")
        value = yaml.load(text, _Loader)
        told = _strange(value)
    except UnicodeDecodeError:
        raise RunError(f"{path} cannot be read (it is no text in UTF-8)") from None
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise RunError(f"{path} cannot be read ({' '.join(str(error).split()):.300})") from None
    if told:
        raise RunError(f"{path} cannot be read ({told})")
    return value


def _problems(text: str) -> Iterator[str]:
    """Refusals before anything is made of the text: its events are to be few, shallow, and of YAML's own kinds."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, _Loader), 1):
        line = f"line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            yield f"{line}: an alias, which no saved config has"
        if getattr(event, "tag", None):
            yield f"{line}: a tag, {event.tag:.80}"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            yield f"{line}: more than {DEEPEST} levels"
        if count > MOST:
            yield f"{line}: more than {MOST:,} values"


def _strange(value: Any) -> str:
    """The fault of a value that is there: empty where it has none."""
    if isinstance(value, dict):
        wrong = next((k for k in value if not isinstance(k, (str, int, float))), ...)
        return f"a key of type {type(wrong).__name__}" if wrong is not ... else _first(value.values())
    if isinstance(value, list):
        return _first(value)
    if isinstance(value, int) and abs(value) > WIDEST:
        return "a whole number above 2⁶⁴"
    return "" if value is None or isinstance(value, (str, int, float)) else f"a value of type {type(value).__name__}"


def _first(values: Any) -> str:
    return next(filter(None, map(_strange, values)), "")
