"""Linear readers of codes. Imports no torch."""

from typing import Any

import numpy as np

from ppl_vae.errors import DataError
from ppl_vae.kinds import numbers


def linear_probe(codes: Any, labels: Any, *, most: int = 10_000, seed: int = 0) -> dict[str, float]:
    """Predict labels from codes linearly, and score the prediction on the half held out.

    Classes by logistic regression, numbers by ridge regression; codes are standardized on the first half.

    Args:
        codes: posterior means, `(data, units)`.
        labels: `(data,)`: whole numbers are classes.
        most: data used at most.
        seed: of the halves.

    Returns:
        `accuracy` and the accuracy of `chance` (always the most frequent class); or `r2` for numbers.

    Raises:
        DataError: for fewer than 4 data, or a single class.

    References:
        Alain and Bengio (2017), Understanding intermediate layers using linear classifier probes,
            https://arxiv.org/abs/1610.01644

    >>> codes = np.random.default_rng(0).normal(size=(400, 3))
    >>> linear_probe(codes, (codes[:, 1] > 0).astype(int))["accuracy"] > 0.95
    True
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    codes, labels = numbers(codes, "codes", 2, finite=True), np.asarray(labels)
    if labels.ndim != 1 or (labels.dtype.kind not in "biuU" and not np.isfinite(numbers(labels, "labels", 1)).all()):
        raise DataError(f"Got labels of shape {labels.shape} and dtype {labels.dtype}, expected one per code, finite.")
    if len(codes) != len(labels) or len(codes) < 4:
        raise DataError(f"Got {len(codes)} codes and {len(labels)} labels, expected at least 4 of each, as many.")
    order = np.random.default_rng(seed).permutation(len(codes))[:most]
    fit, held = order[: len(order) // 2], order[len(order) // 2 :]
    if labels.dtype.kind == "f":
        reader = make_pipeline(StandardScaler(), Ridge()).fit(codes[fit], labels[fit])
        return {"r2": float(reader.score(codes[held], labels[held]))}
    if len(np.unique(labels[fit])) < 2:
        raise DataError("All labels are alike: there is nothing to predict.")
    reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000)).fit(codes[fit], labels[fit])
    chance = np.unique(labels[held], return_counts=True)[1].max() / len(held)
    return {"accuracy": float(reader.score(codes[held], labels[held])), "chance": float(chance)}
