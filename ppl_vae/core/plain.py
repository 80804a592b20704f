"""The plain values that modules hold as attributes: programs do by them what no tensor says."""

from __future__ import annotations

from typing import Any

from torch import nn

PLAIN = (bool, int, float, str, type(None))

_TORCHS = frozenset(vars(nn.Module())) - {"training"}
"""Attributes that every module has, of tensors, parts and hooks."""


def numbers(*parts: Any, most: int | None = None) -> dict[str, Any]:
    """The plain values, and containers of nothing else, by their places.

    Args:
        parts: modules; what is no module has none.
        most: the length of a container up to which it is looked into; None for any.

    Example:
        >>> net = nn.Sequential(nn.Dropout(0.5))
        >>> net.limits = [0, 1]
        >>> numbers(net)["0.p"], numbers(net)[".limits"]
        (0.5, (<class 'list'>, (0, 1)))
    """
    found = {}
    for part in parts:
        for name, module in part.named_modules() if isinstance(part, nn.Module) else ():
            skipped = getattr(type(module), "__found_out__", ())
            for key, value in vars(module).items():
                if key not in _TORCHS and key not in skipped and (told := _plain(value, most)) is not _OTHER:
                    found[f"{name}.{key}"] = told
    return found


_OTHER = object()


def _plain(value: Any, most: int | None) -> Any:
    """The value, a copy of a container; `_OTHER` for what holds anything but plain values."""
    if isinstance(value, PLAIN):
        return value
    if not isinstance(value, (tuple, list, set, dict)):
        return _OTHER
    if most is not None and len(value) > most:
        return type(value), len(value)
    told = [_plain(part, most) for part in (value.items() if isinstance(value, dict) else value)]
    if any(part is _OTHER for part in told):
        return _OTHER
    return type(value), frozenset(map(repr, told)) if isinstance(value, set) else tuple(told)
