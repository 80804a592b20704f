"""`python -m benchmarks.tables`: missing values of real tables filled in, by pairs of this package and by others.

Of tables that scikit-learn bundles two columns are cut at their quantiles, into three ordered values and three
categories, and the class is a column, too. Cells are taken away completely at random, every method is given the rest
of the same table, and what it fills in is compared with what was taken away: numbers by root mean square error, in
standard deviations of the column; values with names by the share that is right. Nothing is tuned: all tables have the
same widths, learning rate and number of steps.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import Ridge

import ppl_vae as pv

STEPS = 2000
BATCH = 64


def table(name: str) -> pd.DataFrame:
    """A table with numbers, an ordered column, a category and a class."""
    load = {"wine": load_wine, "breast_cancer": load_breast_cancer, "diabetes": load_diabetes, "iris": load_iris}[name]
    bunch = load()
    frame = pd.DataFrame(bunch.data[:, :13], columns=list(bunch.feature_names)[:13])
    cut, other = frame.columns[1 if name != "diabetes" else 2], frame.columns[3]
    frame[cut] = pd.qcut(frame[cut], 3, labels=["low", "middle", "high"])
    frame[other] = pd.qcut(frame[other], 3, labels=["b", "c", "a"]).astype(str)
    if name == "diabetes":
        frame["progression"] = bunch.target
        frame["sex"] = np.where(frame["sex"] > 0, "one", "other")
    else:
        frame["class"] = bunch.target_names[bunch.target].astype(str)
    return frame


def holed(frame: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """The table without some of its cells; every row keeps one."""
    rng = np.random.default_rng(seed)
    holes = rng.random(frame.shape) < share
    holes[np.arange(len(frame)), rng.integers(frame.shape[1], size=len(frame))] = False
    return frame.mask(pd.DataFrame(holes, index=frame.index, columns=frame.columns))


def mean_or_mode(frame: pd.DataFrame) -> pd.DataFrame:
    """Each column by itself."""
    return frame.apply(lambda c: c.fillna(c.mean() if c.dtype.kind == "f" else c.mode().iloc[0]))


def by_numbers(frame: pd.DataFrame, fill: Callable[[np.ndarray], np.ndarray]) -> pd.DataFrame:
    """A method for numbers alone: categories are one-hot, and the largest is taken."""
    parts = {}
    for name, column in frame.items():
        if column.dtype.kind == "f":
            parts[name] = ((column - column.mean()) / column.std()).to_frame("")
        else:
            parts[name] = pd.get_dummies(column.astype(object)).astype(float).mask(column.isna())
    filled = fill(np.hstack([part.to_numpy() for part in parts.values()]))
    out, start = frame.copy(), 0
    for name, part in parts.items():
        own, start = filled[:, start : start + part.shape[1]], start + part.shape[1]
        column = frame[name]
        if column.dtype.kind == "f":
            out[name] = column.where(column.notna(), own[:, 0] * column.std() + column.mean())
        else:
            out[name] = column.astype(object).where(column.notna(), part.columns.to_numpy()[own.argmax(1)])
    return out


def iterative(x: np.ndarray, estimator: object, rounds: int = 10) -> np.ndarray:
    """scikit-learn's imputer by chained regressions.

    Its default, the Bayesian ridge, finds that one-hot columns add up to one, and learns nothing else of categories.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return IterativeImputer(estimator, max_iter=rounds, random_state=0).fit_transform(x)


def gaussian(x: np.ndarray, iterations: int = 50, ridge: float = 1e-2) -> np.ndarray:
    """Conditional means of a normal distribution fitted by EM (Dempster, Laird and Rubin, 1977)."""
    gone = np.isnan(x)
    mean, cov = np.nanmean(x, 0), np.diag(np.nanvar(x, 0))
    filled = np.where(gone, mean, x)
    for _ in range(iterations):
        extra = np.zeros_like(cov)
        for row, m in enumerate(gone):
            if not m.any():
                continue
            weights = np.linalg.solve(cov[np.ix_(~m, ~m)] + ridge * np.eye((~m).sum()), cov[np.ix_(~m, m)])
            filled[row, m] = mean[m] + (x[row, ~m] - mean[~m]) @ weights
            extra[np.ix_(m, m)] += cov[np.ix_(m, m)] - cov[np.ix_(m, ~m)] @ weights
        mean = filled.mean(0)
        cov = ((filled - mean).T @ (filled - mean) + extra) / len(x)
    return filled


def by_pair(
    frame: pd.DataFrame,
    seed: int,
    model: Callable[..., torch.nn.Module],
    guide: Callable[..., torch.nn.Module],
    objective: object,
) -> pd.DataFrame:
    """A pair that is trained on the table with its holes."""
    data = pv.datasets.from_arrays(frame, standardization="zscore")
    torch.manual_seed(seed)
    program = model(data.spec)
    vae = pv.VAE(program, guide(data.spec, program))
    epochs = math.ceil(STEPS / math.ceil(len(frame) / BATCH))
    adam = partial(torch.optim.Adam, lr=1e-3)
    pv.fit(vae, data, objective=objective, epochs=epochs, batch_size=BATCH, optimizer=adam, seed=seed, progress=False)
    filled = pv.datasets.to_frame(data.spec, pv.impute(vae, data.train, num_particles=1000, seed=seed).x)
    return frame.astype(object).where(frame.notna(), filled)


SIZES = {"latent_dim": 4, "hidden": (64,)}
PAIRS = {
    "tabular, ELBO": (
        partial(pv.models.Tabular, **SIZES),
        partial(pv.guides.MixtureAmortized, hidden=(64,)),
        pv.objectives.ELBO(),
    ),
    "vae, IWAE (MIWAE)": (
        partial(pv.models.VAE, **SIZES),
        partial(pv.guides.Amortized, hidden=(64,)),
        pv.objectives.IWAE(num_particles=20),
    ),
}
TREES = ExtraTreesRegressor(30, min_samples_leaf=3, random_state=0)
METHODS: dict[str, Callable[[pd.DataFrame, int], pd.DataFrame]] = {
    "mean or mode": lambda frame, seed: mean_or_mode(frame),
    "IterativeImputer, ridge": lambda frame, seed: by_numbers(frame, partial(iterative, estimator=Ridge())),
    "IterativeImputer, trees": lambda frame, seed: by_numbers(frame, partial(iterative, estimator=TREES, rounds=5)),
    "normal by EM": lambda frame, seed: by_numbers(frame, gaussian),
    **{name: partial(by_pair, model=m, guide=g, objective=o) for name, (m, g, o) in PAIRS.items()},
}


def errors(whole: pd.DataFrame, frame: pd.DataFrame, filled: pd.DataFrame) -> tuple[float, float]:
    """Root mean square error of numbers in standard deviations, and the share of right values with names."""
    squares, right = [], []
    for name, column in whole.items():
        gone = frame[name].isna().to_numpy()
        if column.dtype.kind == "f":
            wrong = (filled[name][gone].astype(float) - column[gone]) / column.std()
            squares.extend(wrong.pow(2))
        else:
            right.extend(filled[name][gone].astype(str) == column[gone].astype(str))
    return float(np.mean(squares)) ** 0.5, float(np.mean(right))


def main() -> None:
    """Print a table: mean over seeds, with its standard error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--tables", nargs="*", default=["wine", "breast_cancer", "diabetes", "iris"])
    parser.add_argument("--missing", nargs="*", type=float, default=[0.2, 0.5])
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    print("| table | missing | method | RMSE | accuracy | seconds |\n| --- | ---: | --- | ---: | ---: | ---: |")
    for name in chosen.tables:
        whole = table(name)
        for share in chosen.missing:
            for method, fill in METHODS.items():
                start, found = time.process_time(), []
                for seed in range(chosen.seeds):
                    frame = holed(whole, share, seed)
                    found.append(errors(whole, frame, fill(frame, seed)))
                spent = (time.process_time() - start) / chosen.seeds
                mean, error = np.mean(found, 0), np.std(found, 0, ddof=1) / len(found) ** 0.5
                cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True)]
                print(f"| {name} | {share:.0%} | {method} | {' | '.join(cells)} | {spent:.1f} |", flush=True)


if __name__ == "__main__":
    main()
