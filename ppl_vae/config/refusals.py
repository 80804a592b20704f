"""Words for what OmegaConf refuses: the key, what was got, what was expected, without names of its classes."""

from __future__ import annotations

import re
from dataclasses import fields
from enum import Enum

from omegaconf.errors import OmegaConfBaseException

from ppl_vae.config.verbs import SCHEMAS

_KINDS = {
    **{"Integer": "an integer", "int": "an integer", "Float": "a number", "float": "a number"},
    **{"bool": "true or false", "str": "a text"},
}
_GOT = (
    r"Value '(?P<got>.*)' of type '\w+' could not be converted to (?P<kind>\w+)",
    r"Value '(?P<got>.*)' is not a valid (?P<kind>bool) \(type \w+\)",
    r"Cannot convert '\w+' to (?P<kind>str)ing: '(?P<got>.*)'",
    r"Incompatible value '(?P<got>None)' for field of type '(?P<kind>\w+)'",
    r"Invalid value '(?P<got>.*)', expected one of \[(?P<kind>.*)\]",
    r"Value (?P<got>.*) \(\w+\) is not a valid input for <enum '(?P<kind>\w+)'>",
)
_OTHER = (
    (r".* is not Optional", "got null, expected a value"),
    (r"Invalid value assigned: \w+ is not a ListConfig, list or tuple\.", "got one value, expected a list: [A,B]"),
    (r"Cannot merge DictConfig with ListConfig", "got keys, expected a list: [A,B]"),
    (r"Cannot assign (?:\w+) to Dict\[.*\]", "got one value, expected keys and values: {KEY:VALUE}"),
)


def type_error(error: OmegaConfBaseException) -> str:
    """One line for a value of the wrong kind: the key, what was got, what was expected.

    Example:
        >>> from omegaconf import OmegaConf
        >>> from omegaconf.errors import ValidationError
        >>> try:
        ...     OmegaConf.merge(OmegaConf.structured(SCHEMAS["new"]), {"quiet": "maybe"})
        ... except ValidationError as error:
        ...     type_error(error)
        "quiet: got 'maybe', expected true or false"
    """
    key = getattr(error, "full_key", None) or getattr(error, "key", None)
    first = re.split(r"\n +(?:full_key|reference_type|object_type)\b", str(getattr(error, "msg", None) or error))[0]
    if first.endswith("list index out of range") and (place := re.fullmatch(r"(.+)\[(-?\d+)\]", str(key))):
        whole = place[1]
        return (
            f"{whole}.{place[2]}: the list has no element {place[2]}, counted from 0; give the whole list: {whole}=[…]"
        )
    if group := re.fullmatch(r"Merge error: \w+ is not a subclass of (\w+)\. value: (.*)", first, re.DOTALL):
        return f"{_key_of(group[1])}: got {group[2]!r}, expected keys of it: {_key_of(group[1])}.KEY=VALUE"
    told = _told(first)
    return f"{key}: {told}" if key else told


def _told(first: str) -> str:
    for pattern in _GOT:
        if found := re.fullmatch(pattern, first, re.DOTALL):
            got = "null" if found["got"] == "None" and "Incompatible" in pattern else repr(found["got"])
            return f"got {got}, expected {_expected(found['kind'])}"
    for pattern, words in _OTHER:
        if found := re.fullmatch(pattern, first, re.DOTALL):
            return found.expand(words)
    return " ".join(f"{first[0].lower()}{first[1:]}".split())


def _expected(kind: str) -> str:
    """The values of a kind, by OmegaConf's name of it or the name of an enumeration of ours."""
    for enumeration in Enum.__subclasses__():
        if enumeration.__name__ == kind and enumeration.__module__.startswith("ppl_vae."):
            return f"one of {', '.join(enumeration.__members__)}"
    return _KINDS.get(kind, f"one of {kind}")


def _key_of(kind: str) -> str:
    """The key whose own keys a dataclass of this name holds."""
    named = (field for schema in SCHEMAS.values() for field in fields(schema))
    return next((f.name for f in named if kind in str(f.type)), kind)
