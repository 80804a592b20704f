"""Values in JSON's own types."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """The value in JSON's own types: NaN and infinities are null, arrays are lists, paths are strings.

    Example:
        >>> plain({"nll": float("nan"), "shape": (1, 8)})
        {'nll': None, 'shape': [1, 8]}
    """
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy and torch, scalars too
        return plain(value.tolist())
    return str(value)


def to_json(record: Any) -> str:
    """One line of strict JSON."""
    return json.dumps(plain(record), allow_nan=False)
