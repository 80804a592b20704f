"""Values against annotations."""

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
import torch

from ppl_vae.config.targets import AnnotationMismatch, describe, fit_value, options


class Colour(Enum):
    red = 1


FITS = {
    "int": (3, int, 3),
    "int as float": (3, float, 3),
    "int as float in a tuple": ([0, 0.9], tuple[float, float], (0.0, 0.9)),
    "int as float in a mapping": ({"a": 1}, Mapping[str, float], {"a": 1.0}),
    "bool": (True, bool, True),
    "text": ("a", str, "a"),
    "a number as text": (2024, str, "2024"),
    "none": (None, None | int, None),
    "optional": (2, Optional[int], 2),  # noqa: UP045
    "exact type of a union": (3, float | int, 3),
    "literal": ("a", Literal["a", "b"], "a"),
    "list": ([1], list[int], [1]),
    "sequence": ([1, 2], Sequence[int], [1, 2]),
    "tuple": ([1, 2], tuple[int, ...], (1, 2)),
    "pair": ([0.9, 1], tuple[float, float], (0.9, 1.0)),
    "mapping": ({"a": 1}, Mapping[str, float], {"a": 1.0}),
    "path": ("a", Path, Path("a")),
    "path or text": ("a", str | Path, "a"),
    "enum": ("red", Colour, Colour.red),
    "any": ("x", Any, "x"),
    "dtype or text": ("float64", torch.dtype | str, "float64"),
    "name of an import for types only": (3, "Unknown", 3),
}
MISFITS = {
    "text as int": ("a", int),
    "bool as int": (True, int),
    "float as int": (2.5, int),
    "int as bool": (1, bool),
    "bool as float": (True, float),
    "bool as text": (True, str),
    "none": (None, int),
    "literal": ("c", Literal["a", "b"]),
    "text as list": ("ab", list[str]),
    "element": ([1, "a"], Sequence[int]),
    "length": ([1], tuple[float, float]),
    "union": ("a", int | None),
    "class": ("a", torch.Tensor),
}


@pytest.mark.parametrize(("value", "hint", "expected"), FITS.values(), ids=FITS)
def test_fits(value, hint, expected):
    found = fit_value(value, hint)
    assert found == expected
    assert repr(found) == repr(expected)


@pytest.mark.parametrize(("value", "hint"), MISFITS.values(), ids=MISFITS)
def test_misfits(value, hint):
    with pytest.raises(AnnotationMismatch):
        fit_value(value, hint)


def test_words():
    assert describe(int | None) == "an integer | null"
    assert describe(Literal["a", "b"]) == "a | b"
    assert options(Literal["a"] | None) == ["a"]
