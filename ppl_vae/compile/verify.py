"""Checks that a program's substitute leaves behind what the program does."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ppl_vae.frames import FAMILIES, place_of

GRADIENT = "the gradient of "


class CaptureError(Exception):
    """The reason that a step is taken in another way after all."""


def compare(
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    how: str,
    *,
    exact: bool = False,
    least: float = 1e-30,
    dtype: torch.dtype | None = None,
) -> None:
    """Check that all tensors are the same: to the bit, or |a − b| ≤ 10³ ε (|a| + max |a|) with ε of their dtype.

    Args:
        expected: by name; names of gradients begin with `GRADIENT`.
        found: by the same names.
        how: a word for what was done to the program.
        exact: to the bit.
        least: max |a| counts as at least this.
        dtype: of ε, where numbers were computed in another dtype than they are given in.

    Raises:
        CaptureError: they are not; says which.
    """
    if expected.keys() != found.keys():
        raise CaptureError(f"{how}, {min(expected.keys() ^ found.keys())} is missing")
    # What ought to be zero, such as the gradient of a bias before batch norm, is rounding of what is not.
    largest = max((_largest(g) for name, g in expected.items() if name.startswith(GRADIENT)), default=0.0)
    for name, value in expected.items():
        floor = largest / 100 if name.startswith(GRADIENT) else least
        if not (torch.equal(value, found[name]) if exact else _close(value, found[name], floor, dtype)):
            raise CaptureError(f"{how}, {name} differs from the eager one")


def _close(expected: Tensor, found: Tensor, least: float, dtype: torch.dtype | None) -> bool:
    if not expected.is_floating_point() or expected.shape != found.shape:
        return torch.equal(expected, found)
    eps = torch.finfo(dtype or expected.dtype).eps
    distance = (expected - found).abs()
    near = distance.isfinite() & (distance <= 1e3 * eps * (expected.abs() + max(_largest(expected), least)))
    return bool((near | (expected == found) | (expected.isnan() & found.isnan())).all())


def _largest(values: Tensor) -> float:
    """The largest finite size."""
    sizes = values.abs().nan_to_num(0.0, posinf=0.0)
    return float(sizes.max()) if sizes.numel() else 0.0


def reason(error: Exception) -> str:
    """An error in a line, with the line of the program where it arose."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "error:" in line] or lines  # of a compiler's
    told = ": ".join([type(error).__name__, *telling[:1]])[:200]
    place = place_of(error, (*FAMILIES, "ppl_vae.core", "ppl_vae.estimators", "ppl_vae.objectives"))
    return f"{told}, at {place}" if place else told
