"""What values x takes, read from the dtype and the values, or checked against what the user says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ppl_vae.datasets.spec import SUPPORTS, Support
from ppl_vae.errors import DataError


def check_finite(x: Tensor, what: str) -> None:
    """Refuse infinite values, saying how many there are and where the first is; NaN is a missing value.

    Raises:
        DataError: if there are any.
    """
    if not x.is_floating_point() or not len(x) or torch.isfinite(x.sum()):
        return  # neither NaN nor infinities leave a sum, which needs no memory
    for start in range(0, len(x), 4096):
        part = x[start : start + 4096]
        bad = part.isinf()
        if bool(bad.any()):
            number = int(sum(int(p.isinf().sum()) for p in x.split(4096)))
            raise DataError(
                f"Got {_several(number)} of {what} infinite ({_first(part, bad, start)}), expected finite numbers, or "
                "NaN where a value is missing: drop these data or fill in the values."
            )


def has_nan(x: Tensor) -> bool:
    """Whether values are missing."""
    return x.is_floating_point() and x.numel() > 0 and not bool(torch.isfinite(x.sum())) and bool(x.isnan().any())


def _several(number: int) -> str:
    return f"{number} value{'' if number == 1 else 's'}"


def _first(x: Tensor, bad: Tensor, start: int = 0) -> str:
    """Where the first bad value is, without a list of all of them."""
    datum, *element = np.unravel_index(int(bad.flatten().to(torch.uint8).argmax()), x.shape)
    place = f" at {[int(i) for i in element]}" if element else ""
    return f"the first is {x[(datum, *element)].item():g} in datum {int(datum) + start}{place}"


def find_support(
    parts: Mapping[str, Tensor], support: Support | None, levels: int | None
) -> tuple[Support, int | None]:
    """Give the support of stored x, before any policy, and its number of levels if it is ``integers``.

    Left to itself, the dtype decides, then the values: booleans and values of 0 and 1 only are ``binary``;
    uint8 is ``integers`` with 256 levels; other integers are ``counts``, or ``real`` where negative;
    floating-point values are ``unit`` if they lie in [0, 1], ``counts`` if they are whole numbers of at least 0
    (as single-cell tables hold them), else ``real``. Missing values (NaN) are left out.

    Args:
        parts: x of each split, by the split's name.
        support: what the user says it is.
        levels: how many levels the user says it has, which makes it ``integers``.

    Raises:
        DataError: where the values are not in the support given.
    """
    if support is not None and support not in SUPPORTS:
        raise DataError(f"Got support={support!r}, expected one of {', '.join(SUPPORTS)}, or none to find it.")
    if levels is not None:
        if support not in (None, "integers") or levels < 2:
            raise DataError(
                f"Got levels={levels} with support={support!r}, expected at least 2, with support 'integers'."
            )
        support = "integers"
    found, found_levels = _guess(list(parts.values()))
    if support is None or support == found:
        return found, levels or found_levels
    if support == "integers":
        levels = levels or found_levels
        if levels is None:
            raise DataError("Got support='integers' without levels, expected both: say levels=256, for instance.")
    for name, x in parts.items():
        _check(x, name, support, levels)
    return support, levels


def _guess(parts: list[Tensor]) -> tuple[Support, int | None]:
    filled = [p for p in parts if p.numel()]
    lows, highs = zip(*(_range(p) for p in filled), strict=True)
    low, high = min(lows), max(highs)
    whole = all(not p.is_floating_point() for p in parts)
    if low >= 0 and high <= 1 and (whole or all(map(_is_binary, parts))):
        return "binary", None
    if all(p.dtype == torch.uint8 for p in parts):
        return "integers", 256
    if whole:
        return ("counts" if low >= 0 else "real"), None
    if low >= 0 and high <= 1:
        return "unit", None
    return ("counts" if low >= 0 and all(map(_is_whole, parts)) else "real"), None


def _range(x: Tensor) -> tuple[float, float]:
    """The least and the largest value, those that are missing left out."""
    low, high = (float(v) for v in torch.aminmax(x))
    if low == low:
        return low, high
    there = [part[~part.isnan()] for part in x.split(4096)]
    ranges = [torch.aminmax(part) for part in there if part.numel()]
    return min((float(r.min) for r in ranges), default=0.0), max((float(r.max) for r in ranges), default=0.0)


def _is_binary(x: Tensor) -> bool:
    """Part by part: most real values are told by the first, and no part needs much memory."""
    return all(bool(((part == 0) | (part == 1) | (part != part)).all()) for part in x.split(4096))


def _is_whole(x: Tensor) -> bool:
    return all(bool(((part == part.round()) | (part != part)).all()) for part in x.split(4096))


_ALLOWED: dict[Support, str] = {
    "binary": "0 and 1 only: choose a binarization (static, dynamic or threshold), or another support",
    "integers": "whole numbers",
    "counts": "whole numbers of at least 0",
    "unit": "numbers between 0 and 1: divide by the largest value there can be (255 for 8-bit pixels)",
    "positive": "numbers above 0",
    "real": "numbers",
}


def _check(x: Tensor, name: str, support: Support, levels: int | None) -> None:
    bad = {
        "binary": lambda: (x != 0) & (x != 1),
        "integers": lambda: (x < 0) | (x > (levels or 0) - 1) | (x != x.round()),
        "counts": lambda: (x < 0) | (x != x.round()),
        "unit": lambda: (x < 0) | (x > 1),
        "positive": lambda: x <= 0,
        "real": lambda: torch.zeros_like(x, dtype=torch.bool),
    }[support]()
    if x.is_floating_point():
        bad = bad & ~x.isnan()
    if number := int(bad.sum()):
        expected = f"whole numbers from 0 to {(levels or 0) - 1}" if support == "integers" else _ALLOWED[support]
        raise DataError(
            f"Got {_several(number)} of {name} outside the support {support!r} ({_first(x, bad)}), expected {expected}."
        )
