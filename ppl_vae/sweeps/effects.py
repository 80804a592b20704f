"""Effects of keys and of time: shares of variance, standard errors, the Pareto front."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

CUTS = 4
"""Parts that a key of many numbers is cut into for its importance."""


def standard_error(values: Any) -> float:
    """The standard error of a mean, s / √n; NaN for fewer than two values.

    Example:
        >>> standard_error([1.0, 3.0]), standard_error([1.0])
        (1.0, nan)
    """
    values = np.asarray(values, dtype=float)
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def importance(keys: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    """The share of the variance between runs that each key explains by itself.

    With m_v the mean of the n_v runs where key k has the value v, and m that of all n runs,

        share_k = Σ_v n_v (m_v − m)² / Σ_r (y_r − m)²        chance_k = (L_k − 1) / (n − 1)

    which is the main effect of a functional analysis of variance. Over a full grid the shares of the keys add up to 1
    less interactions and what the keys do not explain; where keys did not vary independently their shares overlap.
    A key of L_k values that does nothing has the share chance_k on average: shares near it mean nothing. Numbers of
    more than six values are cut at quantiles into four parts first.

    Args:
        keys: a row a run, a column a key, `seed` too.
        values: their figure.

    Returns:
        Per key `share`, `chance`, `levels`, the largest share first; NaN where there is nothing to tell from.

    References:
        Hutter, Hoos and Leyton-Brown (2014), An Efficient Approach for Assessing Hyperparameter Importance, https://proceedings.mlr.press/v32/hutter14.html

    Example:
        >>> import pandas as pd
        >>> keys = pd.DataFrame({"beta": [0, 0, 1, 1], "seed": [0, 1, 0, 1]})
        >>> importance(keys, pd.Series([0.0, 1.0, 4.0, 5.0]))["share"].round(3).to_dict()  # 16/17 and 1/17
        {'beta': 0.941, 'seed': 0.059}
    """
    import pandas as pd

    y = values.to_numpy(dtype=float)
    n = len(y)
    total = float(((y - y.mean()) ** 2).sum()) if n else 0.0
    rows = []
    for name in keys:
        levels = _levels(keys[name])
        parts = [y[levels == v] for v in dict.fromkeys(levels)]
        known = 1 < len(parts) < n and total > 0
        between = sum(len(part) * (part.mean() - y.mean()) ** 2 for part in parts)
        rows.append(
            {
                "key": name,
                "share": between / total if known else math.nan,
                "chance": (len(parts) - 1) / (n - 1) if known else math.nan,
                "levels": len(parts),
            }
        )
    frame = pd.DataFrame(rows, columns=["key", "share", "chance", "levels"]).set_index("key")
    return frame.sort_values("share", ascending=False, kind="stable")


def pareto(values: Any, costs: Any, *, up: bool) -> Any:
    """True for those that no other beats: no other is as good for as little cost, and better in one of the two.

    Args:
        values: figures; NaN is on no front.
        costs: lower is better.
        up: higher values are better.

    Example:
        >>> pareto([1.0, 2.0, 1.5], [1.0, 2.0, 3.0], up=True)
        array([ True,  True, False])
    """
    y = np.asarray(values, dtype=float) * (1.0 if up else -1.0)
    c = np.asarray(costs, dtype=float)
    known = np.isfinite(y) & np.isfinite(c)
    beaten = (
        known[None]
        & (y[None] >= y[:, None])
        & (c[None] <= c[:, None])
        & ((y[None] > y[:, None]) | (c[None] < c[:, None]))
    )
    return known & ~beaten.any(1)


def _levels(column: pd.Series) -> Any:
    """The values of a key as labels; numbers of many values cut at quantiles."""
    numbers = [v for v in column if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) == len(column) and len(set(numbers)) > CUTS + 2:
        values = np.asarray(numbers, dtype=float)
        edges = np.quantile(values, np.arange(1, CUTS) / CUTS)
        return np.searchsorted(edges, values, side="left").astype(str)
    return np.asarray([str(v) for v in column], dtype=object)
