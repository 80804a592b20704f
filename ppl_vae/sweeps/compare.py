"""Runs of a sweep against each other: ranked, averaged over seeds, told apart or not; pure functions over frames."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl_vae.config.schema import near
from ppl_vae.errors import UsageError
from ppl_vae.sweeps.difference import Difference, difference

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.sweeps.gather import Gathered

HIGHER, LOWER = True, False
DIRECTIONS: Mapping[str, bool] = {
    "elbo": HIGHER,
    "bound": HIGHER,
    "log_likelihood": HIGHER,
    "ess": HIGHER,
    "active_units": HIGHER,
    "nll": LOWER,
    "nll_se": LOWER,
    "reconstruction": LOWER,
    "gap": LOWER,
    "pareto_k": LOWER,
    "pareto_k_max": LOWER,
    "pareto_k_bad": LOWER,
    "seconds": LOWER,
}
"""Figures that one can be better by, whatever the part of the data, and which way."""

BY_PARTICLES = ("nll", "nll_se", "gap", "ess", "pareto_k", "pareto_k_max", "pareto_k_bad")
"""Figures whose expectation depends on the number of importance samples: those of different numbers are not compared."""

NEED_A_DENSITY = ("elbo", "nll", "gap", "bound")
"""Figures that are no evidence, and too good, where the code is deterministic."""

PARTS = ("validation", "test", "train")
SEED = "seed"
NAMED = 6
"""Groups without a run that are named at most."""

CUTS = 4
"""Quantiles that a key of many numbers is cut at for its importance."""


@dataclass(frozen=True)
class Metric:
    """A figure that runs are ranked by.

    Attributes:
        name: such as `validation/elbo`.
        up: higher is better.
    """

    name: str
    up: bool

    @property
    def short(self) -> str:
        """The name without the part of the data."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def part(self) -> str:
        """The part of the data; empty for what is of none."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`; frames have a row a job, or a row a group, the best first.

    Attributes:
        metric: what the ranking is by.
        by: the keys that make a group.
        key_names: all keys that differ, `seed` too.
        runs: `run`, `status`, keys, figures, `group` (its rank), `front` (on the Pareto front), `reason`.
        groups: keys, `runs` and `planned` (how many), `mean`, `se` (over seeds), `seconds`, `basis`, `difference`,
            `low`, `high`, `over`, `verdict`, `front`, `jobs`.
        importance: per key `share`, `chance` and `levels`, see `importance`.
        differs_in: the figure of `difference`; empty where there is none.
        notes: what a reader must know, in sentences.
    """

    metric: Metric
    by: tuple[str, ...]
    key_names: tuple[str, ...]
    runs: pd.DataFrame
    groups: pd.DataFrame
    importance: pd.DataFrame
    differs_in: str = ""
    notes: tuple[str, ...] = field(default_factory=tuple)


def find_metric(name: str | None, figures: pd.DataFrame) -> Metric:
    """The figure that a name means: `nll` is the first of validation/nll, test/nll, train/nll that there is.

    Args:
        name: of a figure; None: `validation/elbo`, or where no run has it `test/elbo`, `train/elbo`.

    Raises:
        UsageError: no run has it, or neither way is better; names the near ones.
    """
    there = [c for c in figures if figures[c].notna().any()]
    if name is None:
        found = next((n for n in ("validation/elbo", "test/elbo", "train/elbo") if n in there), "validation/elbo")
        return Metric(found, HIGHER)
    legal = [c for c in there if c.rsplit("/", 1)[-1] in DIRECTIONS]
    candidates = [name] if "/" in name or name == "seconds" else [f"{part}/{name}" for part in PARTS]
    for candidate in candidates:
        if candidate in legal or (not there and candidate.rsplit("/", 1)[-1] in DIRECTIONS):
            return Metric(candidate, DIRECTIONS[candidate.rsplit("/", 1)[-1]])
    known = next((c for c in candidates if c in there), None)
    why = "neither higher nor lower is better" if known else "no run has this figure"
    raise UsageError(f"metric={name}: {why}; {near(name, legal)}")


def compare(
    found: Gathered,
    metric: str | None = None,
    group: str | Sequence[str] | None = None,
    sort: str | None = None,
    level: float = 0.95,
) -> Comparison:
    """Rank the finished runs of a sweep, and tell its groups apart as far as they can be.

    The rank is by the mean of `metric` over the runs of a group. Differences are to the first group, on the test data,
    see `difference`: of the test figure of the same name where runs have it per datum (`validation/elbo` ranks,
    `test/elbo` is compared: what is chosen by validation data is judged by others), else of `metric`.

    Args:
        found: what `gather` read.
        metric: see `find_metric`.
        group: the key, or keys, that make a group; all but `seed` by default. What else differs counts as another seed.
        sort: a key or a figure that rows are sorted by instead (`-` before it: downwards); the ranks stay.
        level: of the intervals.

    Raises:
        UsageError: a misspelt metric or key.
    """
    import pandas as pd

    chosen = find_metric(metric, found.figures)
    keys = list(found.keys)
    by = _keys_of(group, keys)
    values = found.figures.get(chosen.name, pd.Series(np.nan, index=found.keys.index))
    ranked = (found.states["state"] == "finished") & values.notna()
    basis = _basis(found, chosen)
    labels = _labels(found.keys, by)
    members: dict[Hashable, list[int]] = {}
    for job in found.keys.index[ranked]:
        members.setdefault((labels[job], basis[job]), []).append(job)
    best_basis = _best_basis([b for _, b in members])
    sign = -1.0 if chosen.up else 1.0
    order = sorted(members, key=lambda g: (g[1] != best_basis, g[1], sign * values[members[g]].mean()))
    figure, tables = _per_datum(found, chosen)
    rows, ranks = [], {}
    for rank, group_ in enumerate(order, 1):
        label, its_basis = group_
        jobs = members[group_]
        ranks |= dict.fromkeys(jobs, rank)
        own = values[jobs]
        apart = Difference()
        if rank > 1 and its_basis == best_basis:
            first = members[order[0]]
            apart = _difference(found, jobs, first, by, own=values, tables=tables, level=level)
        seconds = found.figures["seconds"][jobs].mean() if "seconds" in found.figures else math.nan
        planned = sum(labels[j] == label for j in found.keys.index)
        rows.append(
            {
                "group": rank,
                **dict(zip(by, label, strict=True)),
                "runs": len(jobs),
                "planned": planned,
                "mean": float(own.mean()),
                "se": standard_error(own.to_numpy()),
                "seconds": float(seconds),
                "basis": its_basis,
                "difference": apart.estimate,
                "low": apart.low,
                "high": apart.high,
                "over": apart.over,
                "verdict": _verdict(apart, chosen, first=rank == 1, same=its_basis == best_basis),
                "jobs": jobs,
            }
        )
    columns = ["group", *by, "runs", "planned", "mean", "se", "seconds", "basis", "difference", "low", "high", "over"]
    groups = pd.DataFrame(rows, columns=[*columns, "verdict", "jobs"])
    for key in by:  # 1 stays 1 beside 0.1
        groups[key] = pd.Series([row[key] for row in rows], dtype=object)
    fair = (groups["basis"] == best_basis).to_numpy(dtype=bool)
    groups["front"] = fair & pareto(groups["mean"].where(fair), groups["seconds"], up=chosen.up)
    same = ranked & (basis == best_basis)
    runs = _runs(found, ranks, values, chosen, same)
    shares = importance(found.keys[same], values[same])
    return Comparison(
        metric=chosen,
        by=tuple(by),
        key_names=tuple(keys),
        runs=_sorted(runs, sort, keys),
        groups=_sorted(groups, sort, keys, figures=("mean", "se", "seconds", "difference", "runs")),
        importance=shares,
        differs_in=figure if len(groups) > 1 else "",
        notes=tuple(_notes(found, chosen, by, groups, ranked, figure, best_basis)),
    )


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
    A key of L_k values that does nothing has the share chance_k on average: shares near it mean nothing. Numbers of more
    than six values are cut at quantiles into four parts first.

    Args:
        keys: a row a run, a column a key, `seed` too.
        values: their figure.

    Returns:
        Per key `share`, `chance`, `levels`, the largest share first; NaN where there is nothing to tell from.

    References:
        Hutter, Hoos and Leyton-Brown (2014), An Efficient Approach for Assessing Hyperparameter Importance,
        https://proceedings.mlr.press/v32/hutter14.html

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


def _keys_of(group: str | Sequence[str] | None, keys: list[str]) -> list[str]:
    legal = [k for k in keys if k != SEED]
    if group is None:
        return legal
    named = [group] if isinstance(group, str) else list(group)
    for name in named:
        if name not in keys:
            raise UsageError(f"group={name}: no key of this name differs between the runs; {near(str(name), keys)}")
    return list(dict.fromkeys(named))


def _labels(keys: pd.DataFrame, by: Sequence[str]) -> dict[int, tuple[Any, ...]]:
    return {job: tuple(keys.at[job, k] for k in by) for job in keys.index}


def _basis(found: Gathered, metric: Metric) -> pd.Series:
    """What a figure rests on beside the run: the particles of an NLL, or that there is no density."""
    import pandas as pd

    basis = pd.Series("", index=found.keys.index, dtype=object)
    if metric.short in BY_PARTICLES and (name := f"{metric.part}/num_particles") in found.figures:
        known = found.figures[name].dropna()
        basis[known.index] = [f"{int(k)} particles" for k in known]
    if metric.short in NEED_A_DENSITY:
        basis[found.states["no_evidence"].notna()] = "no density"
    return basis


def _best_basis(basis: list[str]) -> str:
    """The one that others are compared with: a density, and the most particles."""
    counts = [b for b in basis if b != "no density"] or basis
    return max(counts, key=lambda b: int(b.split()[0]) if b[:1].isdigit() else 0, default="")


def _per_datum(found: Gathered, metric: Metric) -> tuple[str, dict[int, Any]]:
    """The figure that differences are of, and its values per test datum by job."""
    tables = {j: t[metric.short] for j, t in found.tables.items() if metric.short in t and t[metric.short].notna().all()}
    return (f"test/{metric.short}", tables) if tables else (metric.name, {})


def _difference(
    found: Gathered,
    jobs: list[int],
    first: list[int],
    by: list[str],
    *,
    own: pd.Series,
    tables: Mapping[int, Any],
    level: float,
) -> Difference:
    both = [*jobs, *first]
    per_datum = all(j in tables for j in both)
    if tables and not per_datum:  # one figure for all rows of a table
        return Difference()
    same = per_datum and len({found.data[j] for j in both}) == 1
    rest = [k for k in found.keys if k not in by]

    def values(jobs: list[int]) -> dict[Hashable, Any]:
        taken: dict[Hashable, Any] = {}
        count: dict[Hashable, itertools.count[int]] = {}
        for job in jobs:
            label = tuple(found.keys.at[job, k] for k in rest)
            place = (*label, next(count.setdefault(label, itertools.count())))  # runs of equal keys follow each other
            figure = tables[job].to_numpy(dtype=float) if per_datum else own[job]
            taken[place] = figure if same or not per_datum else float(np.mean(figure))
        return taken

    return difference(values(jobs), values(first), level)


def _verdict(apart: Difference, metric: Metric, *, first: bool, same: bool) -> str:
    if first:
        return "best"
    if not same:
        return "not comparable"
    if apart.told_apart is None:
        return "not known"
    if not apart.told_apart:
        return "not told apart"
    word = "better" if (apart.estimate > 0) == metric.up else "worse"
    return f"{word}, one seed" if apart.over == "data" else word


def _runs(found: Gathered, ranks: dict[int, int], values: pd.Series, metric: Metric, same: pd.Series) -> pd.DataFrame:
    import pandas as pd

    frame = pd.concat([found.states[["run", "state"]].rename(columns={"state": "status"}), found.keys], axis=1)
    frame = pd.concat([frame, found.figures], axis=1)
    frame["group"] = pd.Series([ranks.get(job) for job in frame.index], index=frame.index, dtype=object)
    seconds = found.figures.get("seconds", pd.Series(np.nan, index=frame.index))
    frame["front"] = pareto(values.where(same), seconds, up=metric.up)
    frame["reason"] = found.states["reason"]
    order = values.where(found.states["state"] == "finished") * (-1.0 if metric.up else 1.0)
    place = pd.DataFrame({"unfair": ~same, "value": order}, index=frame.index)
    return frame.loc[place.sort_values(["unfair", "value"]).index]  # by job where these are equal


def _sorted(frame: pd.DataFrame, sort: str | None, keys: list[str], figures: Sequence[str] = ()) -> pd.DataFrame:
    """By a key or a figure; of groups, which have not got them all, by what they have."""
    if sort is None:
        return frame
    name, down = sort.removeprefix("-"), sort.startswith("-")
    short = [c for c in frame if c.rsplit("/", 1)[-1] == name]
    column = name if name in frame else short[0] if short else None
    if column is None:
        if figures:
            return frame
        raise UsageError(f"sort={sort}: no column of this name; {near(name, map(str, frame.columns))}")
    texts = frame[column].map(lambda v: isinstance(v, str)).any()
    return frame.sort_values(
        column, ascending=not down, kind="stable", na_position="last", key=(lambda s: s.map(str)) if texts else None
    )


def _levels(column: pd.Series) -> Any:
    """The values of a key as labels; numbers of many values cut at quantiles."""
    numbers = [v for v in column if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) == len(column) and len(set(numbers)) > CUTS + 2:
        values = np.asarray(numbers, dtype=float)
        edges = np.quantile(values, np.arange(1, CUTS) / CUTS)
        return np.searchsorted(edges, values, side="left").astype(str)
    return np.asarray([str(v) for v in column], dtype=object)


def _notes(
    found: Gathered,
    metric: Metric,
    by: Sequence[str],
    groups: pd.DataFrame,
    ranked: pd.Series,
    figure: str,
    best_basis: str,
) -> list[str]:
    """Sentences: which jobs are not in the ranking and why, and what limits the comparison."""
    notes = []
    states = found.states["state"]
    for state in dict.fromkeys(states[states != "finished"]):
        jobs = list(states.index[states == state])
        notes.append(f"{len(jobs)} {state}, not ranked: job{'s' * (len(jobs) > 1)} {listed(jobs)}.")
    without = list(states.index[(states == "finished") & ~ranked])
    if without:
        notes.append(f"Without {metric.name}, not ranked: job{'s' * (len(without) > 1)} {listed(without)}.")
    ranked_labels = {tuple(row[k] for k in by) for _, row in groups.iterrows()}
    empty = list(dict.fromkeys(label for label in _labels(found.keys, by).values() if label not in ranked_labels))
    if empty and len(groups):
        named = ["(" + ", ".join(f"{k}={v}" for k, v in zip(by, label, strict=True)) + ")" for label in empty[:NAMED]]
        more = f" and {len(empty) - NAMED} more" if len(empty) > NAMED else ""
        notes.append(f"{_plural(len(empty), 'group')} without a finished run: {', '.join(named)}{more}.")
    bases = [b for b in dict.fromkeys(groups["basis"]) if b != best_basis]
    if bases:
        ours = f"those of {best_basis}" if best_basis else "the others"
        advice = "" if "no density" in bases else "; ppl-vae evaluate makes them equal: num_particles=…"
        notes.append(f"{metric.name} of {', '.join(bases)} is listed last, and not compared with {ours}{advice}.")
    compared = groups[groups["over"] != ""]
    over = set(compared["over"])
    if "data" in over:
        notes.append("One run a group: intervals are over test data alone, and say nothing of another seed.")
    if "seeds" in over:
        notes.append(f"Intervals of {figure} are over seeds alone: the runs share no figures per test datum.")
    if len(compared) > 1:
        notes.append(f"Each of the {len(compared)} intervals covers with 95 % by itself, not all of them together.")
    return notes


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def listed(numbers: Sequence[int]) -> str:
    """Numbers with runs of them drawn together.

    Example:
        >>> listed([0, 1, 2, 5])
        '0–2, 5'
    """
    parts: list[list[int]] = []
    for n in sorted(numbers):
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(f"{p[0]}–{p[-1]}" if len(p) > 2 else ", ".join(map(str, p)) for p in parts)
