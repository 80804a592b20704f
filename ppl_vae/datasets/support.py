"""The values that x takes: found from the dtype and the values, or checked against what the user says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ppl_vae.datasets.blocks import Column
from ppl_vae.datasets.spec import SUPPORTS, Support
from ppl_vae.errors import DataError

_PART = 4096
"""Data that are looked at together, so that no mask of all of x takes memory."""


def check_finite(x: Tensor | Column, what: str) -> None:
    """Refuse infinite values, saying how many there are and where the first is; NaN is a missing value."""
    if not x.is_floating_point() or not len(x):
        return
    if not x.infinite if isinstance(x, Column) else bool(torch.isfinite(x.sum())):
        return  # neither NaN nor infinities leave a sum, which needs no memory
    number, first = _find(x, torch.isinf)
    if number:
        raise DataError(
            f"Got {number} value{'s' if number > 1 else ''} of {what} infinite ({first}), expected finite numbers, or "
            "NaN where a value is missing: drop these data or fill in the values."
        )


def has_nan(x: Tensor | Column) -> bool:
    """Tell whether values are missing."""
    if isinstance(x, Column):
        return x.is_floating_point() and x.missing > 0
    return x.is_floating_point() and x.numel() > 0 and not bool(torch.isfinite(x.sum())) and bool(x.isnan().any())


def _find(x: Tensor | Column, wrong: Callable[[Tensor], Tensor]) -> tuple[int, str]:
    """Count the wrong values, and say where the first is."""
    number, first, done = 0, "", 0
    for part in x.split(_PART):
        bad = wrong(part)
        if bool(bad.any()) and not first:
            datum, *element = np.unravel_index(int(bad.flatten().to(torch.uint8).argmax()), part.shape)
            place = f" at {[int(i) for i in element]}" if element else ""
            first = f"the first is {part[(datum, *element)].item():g} in datum {done + int(datum)}{place}"
        number, done = number + int(bad.sum()), done + len(part)
    return number, first


def _whole(x: Tensor) -> Tensor:
    return x == x.round() if x.is_floating_point() else torch.ones_like(x, dtype=torch.bool)


_RULES: dict[Support, tuple[Callable[[Tensor, int], Tensor], str]] = {
    "binary": (
        lambda x, _: (x == 0) | (x == 1),
        "0 and 1 only: choose a binarization (static, dynamic or threshold), or another support",
    ),
    "integers": (lambda x, levels: (x >= 0) & (x < levels) & _whole(x), "whole numbers from 0 to {}"),
    "counts": (lambda x, _: (x >= 0) & _whole(x), "whole numbers of at least 0"),
    "unit": (
        lambda x, _: (x >= 0) & (x <= 1),
        "numbers between 0 and 1: divide by the largest value there can be (255 for 8-bit pixels)",
    ),
    "positive": (lambda x, _: x > 0, "numbers above 0"),
    "real": (lambda x, _: torch.ones_like(x, dtype=torch.bool), "numbers"),
}
"""Which values are in a support, and what to say of others."""


def _outside(support: Support, levels: int | None) -> Callable[[Tensor], Tensor]:
    def wrong(x: Tensor) -> Tensor:
        bad = ~_RULES[support][0](x, levels or 0)
        return bad & ~x.isnan() if x.is_floating_point() and bool(bad.any()) else bad  # NaN is in every support

    return wrong


def find_support(
    parts: Mapping[str, Tensor | Column], support: Support | None, levels: int | None
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
    if support == "mixed":
        raise DataError("Got support='mixed' for plain numbers, expected the kinds of columns: kinds={age: positive}.")
    if levels is not None:
        if support not in (None, "integers") or levels < 2:
            raise DataError(
                f"Got levels={levels} with support={support!r}, expected at least 2, with support 'integers'."
            )
        support = "integers"
    found = _guess(list(parts.values()))
    found_levels = 256 if found == "integers" else None
    if support is None or (support == found and levels in (None, found_levels)):
        return found, found_levels
    if support == "integers" and levels is None:
        raise DataError("Got support='integers' without levels, expected both: say levels=256, for instance.")
    for name, x in parts.items():
        number, first = _find(x, _outside(support, levels))
        if number:
            expected = _RULES[support][1].format((levels or 0) - 1)
            raise DataError(
                f"Got {number} value{'s' if number > 1 else ''} of {name} outside the support {support!r} "
                f"({first}), expected {expected}."
            )
    return support, levels


def _guess(parts: list[Tensor | Column]) -> Support:
    def all_in(support: Support) -> bool:  # numbers in the range of it, of which all have to be whole
        wrong = _outside(support, None)
        unread = all(x.facts.whole for x in parts if isinstance(x, Column))
        return unread and not any(
            bool(wrong(part).any()) for x in parts if isinstance(x, Tensor) for part in x.split(_PART)
        )

    low, high = _range(parts)
    within_unit = low >= 0 and high <= 1
    if within_unit and all_in("binary"):
        return "binary"
    if all(x.dtype == torch.uint8 for x in parts):
        return "integers"
    if within_unit and any(x.is_floating_point() for x in parts):
        return "unit"
    return "counts" if low >= 0 and all_in("counts") else "real"


def _range(parts: list[Tensor | Column]) -> tuple[float, float]:
    """The smallest and the largest value, in one pass without memory; missing values are left out."""
    low, high = float("inf"), -float("inf")
    for x in parts:
        if isinstance(x, Column):
            low, high = min(low, x.facts.low), max(high, x.facts.high)
            continue
        missing = has_nan(x)
        for part in x.split(_PART) if missing else [x]:
            known = part[~part.isnan()] if missing else part
            if known.numel():
                least, most = known.aminmax()
                low, high = min(low, float(least)), max(high, float(most))
    return low, high
