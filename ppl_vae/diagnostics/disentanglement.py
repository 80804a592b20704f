"""Does each latent unit carry one factor of the data? Scores for data whose factors are known. Imports no torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_vae.errors import ArgumentError, DataError
from ppl_vae.kinds import numbers

Array = NDArray[np.float64]


def disentanglement(codes: Any, factors: Any, *, most: int = 5_000, seed: int = 0) -> dict[str, float]:
    """Score codes by all five measures, each between 0 (entangled) and 1 (a unit per factor).

    Args:
        codes: posterior means, `(data, units)`.
        factors: known factors as whole numbers, `(data, factors)`.
        most: data used at most, drawn at random.
        seed: of what is drawn.

    Returns:
        `mig`, `sap`, `dci_disentanglement`, `dci_completeness`, `dci_informativeness`, `factor_vae`, `modularity`.

    Raises:
        DataError: where codes and factors do not belong together, or no factor varies.

    References:
        Locatello et al. (2019), Challenging Common Assumptions in the Unsupervised Learning of Disentangled
            Representations, https://arxiv.org/abs/1811.12359

    >>> factors = np.random.default_rng(0).integers(4, size=(2_000, 2))
    >>> scores = disentanglement(factors[:, ::-1] + 0.01, factors)
    >>> min(scores.values()) > 0.9
    True
    """
    codes, whole = numbers(codes, "codes", finite=True), numbers(factors, "factors", finite=True)
    factors = np.asarray(factors)
    if (whole % 1).any() or whole.min() < 0:
        raise DataError("Got factors that are no whole numbers of at least 0, expected the number of each one's value.")
    if most < 4:
        raise ArgumentError(f"Got most={most}, expected at least 4.")
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors):
        raise DataError(
            f"Got codes {codes.shape} and factors {factors.shape}, expected (data, units) and (data, factors) of the "
            "same data."
        )
    factors = factors[:, [len(np.unique(column)) > 1 for column in factors.T]]
    if factors.shape[1] == 0:
        raise DataError("No factor varies over these data: there is nothing to tell apart.")
    rng = np.random.default_rng(seed)
    if len(codes) > most:
        some = rng.choice(len(codes), most, replace=False)
        codes, factors = codes[some], factors[some]
    information, entropy = mutual_information(codes, factors)
    return {
        "mig": mig(information, entropy),
        "sap": sap(codes, factors),
        **dci(codes, factors, seed=seed),
        "factor_vae": factor_vae_score(codes, factors, seed=seed),
        "modularity": modularity(information),
    }


def mutual_information(codes: Array, factors: NDArray[np.int_], bins: int = 20) -> tuple[Array, Array]:
    """Give I(unit; factor), `(units, factors)`, and H(factor), `(factors,)`, in nats; units fall into equal bins."""
    binned = np.stack([np.digitize(c, np.histogram_bin_edges(c, bins)[1:-1]) for c in codes.T], axis=1)
    classes = [np.unique(f, return_inverse=True)[1] for f in factors.T]
    entropy = np.array([_entropy(np.bincount(f)) for f in classes])
    information = np.zeros((codes.shape[1], factors.shape[1]))
    for j, unit in enumerate(binned.T):
        for k, factor in enumerate(classes):
            joint = np.bincount(unit * (factor.max() + 1) + factor)
            information[j, k] = _entropy(np.bincount(unit)) + entropy[k] - _entropy(joint)
    return information, entropy


def _entropy(counts: Any) -> float:
    p = np.asarray(counts, dtype=np.float64).ravel()
    p = p[p > 0] / p.sum()
    return float(-(p * np.log(p)).sum())


def _gap(scores: Array) -> Array:
    """By how much the best unit of each factor is ahead of the second; `(units, factors)` → `(factors,)`."""
    ordered = np.sort(np.vstack([scores, np.zeros((2, scores.shape[1]))]), axis=0)
    return ordered[-1] - ordered[-2]


def mig(information: Array, entropy: Array) -> float:
    """Mutual information gap: mean over factors of (I of the best unit − I of the second) / H(factor).

    References:
        Chen, Li, Grosse and Duvenaud (2018), Isolating Sources of Disentanglement in Variational Autoencoders,
            https://arxiv.org/abs/1802.04942
    """
    return float((_gap(information) / entropy).mean())


def sap(codes: Array, factors: NDArray[np.int_]) -> float:
    """Separated attribute predictability: the same gap, of the R² with which one unit predicts a factor linearly.

    Factors are taken as numbers (the paper's form for continuous ones).

    References:
        Kumar, Sattigeri and Balakrishnan (2018), Variational Inference of Disentangled Latent Concepts from Unlabeled
            Observations, https://arxiv.org/abs/1711.00848
    """
    c, f = codes - codes.mean(0), factors - factors.mean(0)
    scale = np.sqrt((c**2).sum(0))[:, None] * np.sqrt((f**2).sum(0))
    return float(_gap((c.T @ f / np.maximum(scale, 1e-12)) ** 2).mean())


def dci(codes: Array, factors: NDArray[np.int_], *, seed: int = 0) -> dict[str, float]:
    """Disentanglement, completeness and informativeness from forests that predict each factor from all units.

    With R the importance of a unit for a factor, disentanglement is 1 − H of its rows (over factors), weighted by
    their sums, completeness 1 − H of its columns (over units); informativeness is accuracy on data held out,
    from 0 (the most frequent value always) to 1.

    References:
        Eastwood and Williams (2018), A Framework for the Quantitative Evaluation of Disentangled Representations,
            https://openreview.net/forum?id=By-7dz-AZ
    """
    from sklearn.ensemble import RandomForestClassifier

    seed %= 2**32  # scikit-learn takes no larger one
    half = len(codes) // 2
    importance = np.zeros((codes.shape[1], factors.shape[1]))
    informative = []
    for k, factor in enumerate(factors.T):
        forest = RandomForestClassifier(30, max_depth=10, max_features=None, min_samples_leaf=5, random_state=seed)
        forest.fit(codes[:half], factor[:half])
        importance[:, k] = forest.feature_importances_
        chance = np.unique(factor[half:], return_counts=True)[1].max() / (len(factor) - half)
        informative.append((forest.score(codes[half:], factor[half:]) - chance) / max(1 - chance, 1e-12))
    rows, columns = importance.sum(1), importance.sum(0)
    total = max(rows.sum(), 1e-12)
    return {
        "dci_disentanglement": float(_concentration(importance) @ rows / total),
        "dci_completeness": float(_concentration(importance.T) @ columns / total),
        "dci_informativeness": float(np.clip(np.mean(informative), 0, 1)),
    }


def _concentration(importance: Array) -> Array:
    """1 − entropy of each row, to the base of its length."""
    if importance.shape[1] < 2:
        return np.ones(len(importance))
    return np.array([1 - _entropy(row) / np.log(len(row)) if row.sum() else 0.0 for row in importance])


def factor_vae_score(
    codes: Array, factors: NDArray[np.int_], *, group: int = 64, groups: int = 800, seed: int = 0
) -> float:
    """Tell from data that share one factor which one it is: by the unit that varies least among them.

    Accuracy of the majority vote on groups held out, from chance (1 / factors) to 1.

    References:
        Kim and Mnih (2018), Disentangling by Factorising, https://arxiv.org/abs/1802.05983
    """
    rng = np.random.default_rng(seed)
    spread = codes.std(0)
    live = np.flatnonzero(spread > 0.05 * spread.max()) if spread.max() > 0 else np.arange(0)
    if not len(live):
        return 1 / factors.shape[1]
    votes = np.zeros((len(live), factors.shape[1]), dtype=int)
    held = np.zeros_like(votes)
    for number in range(2 * groups):
        k = int(rng.integers(factors.shape[1]))
        value = factors[rng.integers(len(factors)), k]
        same = rng.choice(np.flatnonzero(factors[:, k] == value), group)
        least = int((codes[same][:, live] / spread[live]).var(0).argmin())
        (votes if number < groups else held)[least, k] += 1
    return float(held[np.arange(len(live)), votes.argmax(1)].sum() / held.sum())


def modularity(information: Array) -> float:
    """Mean over units of 1 − Σ of the squared I with all but the best factor / (I² of the best · (factors − 1)).

    Units that carry less than a hundredth of the most informative one do not count.

    References:
        Ridgeway and Mozer (2018), Learning Deep Disentangled Embeddings With the F-Statistic Loss,
            https://arxiv.org/abs/1802.05312
    """
    best = information.max(1)
    live = best > 0.01 * max(best.max(), 1e-12)
    if information.shape[1] < 2 or not live.any():
        return 1.0 if live.any() else 0.0
    rest = (information[live] ** 2).sum(1) - best[live] ** 2
    return float((1 - rest / (best[live] ** 2 * (information.shape[1] - 1))).mean())
