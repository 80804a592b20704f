"""Runs of a sweep against each other: ranked, averaged over seeds, told apart or not; pure functions over frames."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl_vae.config.schema import near
from ppl_vae.display import Displayed, View
from ppl_vae.errors import UsageError
from ppl_vae.sweeps.difference import Difference, difference
from ppl_vae.sweeps.effects import importance, pareto, standard_error
from ppl_vae.sweeps.notes import notes

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
"""Figures whose mean depends on the number of importance samples: those of different numbers are not compared."""

NEED_A_DENSITY = ("elbo", "nll", "gap", "bound")
"""Figures that are no evidence, and too good, where the code is deterministic."""

PARTS = ("validation", "test", "train")
SEED = "seed"


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


@dataclass(frozen=True, repr=False)
class Comparison(Displayed):
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

    def _view(self) -> View:
        keys = [key for key in self.by if key in self.groups]
        told = [*keys, *(c for c in ("runs", "mean", "se", "difference", "verdict") if c in self.groups)]
        rows = [list(row) for row in self.groups[told].itertuples(index=False)]
        return View(f"Comparison({len(self.runs)} runs by {self.metric.name}, best first)", told, rows, self.notes)


def find_metric(name: str | None, figures: pd.DataFrame) -> Metric:
    """The figure that a name means: `nll` is the first of validation/nll, test/nll, train/nll that there is.

    Args:
        name: of a figure; None: `validation/elbo`, or where no run has it `test/elbo`, `train/elbo`.
        figures: a row a run, a column a figure.

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
    raise UsageError(f"metric={name}: {why}; {near(name, {*legal, *(c.rsplit('/', 1)[-1] for c in legal)})}")


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
    members: dict[tuple[tuple[Any, ...], str], list[int]] = {}
    for job in found.keys.index[ranked]:
        members.setdefault((labels[job], basis[job]), []).append(job)
    main_basis = _main_basis(list(basis[ranked]))
    sign = -1.0 if chosen.up else 1.0
    order = sorted(members, key=lambda g: (g[1] != main_basis, g[1], sign * values[members[g]].mean()))
    figure, tables = _per_datum(found, chosen)
    rows: list[dict[str, Any]] = []
    ranks: dict[int, int] = {}
    for rank, group_ in enumerate(order, 1):
        label, its_basis = group_
        jobs = members[group_]
        ranks |= dict.fromkeys(jobs, rank)
        own = values[jobs]
        apart = Difference()
        if rank > 1 and its_basis == main_basis:
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
                "verdict": _verdict(apart, chosen, first=rank == 1, same=its_basis == main_basis),
                "jobs": jobs,
            }
        )
    columns = ["group", *by, "runs", "planned", "mean", "se", "seconds", "basis", "difference", "low", "high", "over"]
    groups = pd.DataFrame(rows, columns=[*columns, "verdict", "jobs"])
    for key in by:  # 1 stays 1 beside 0.1
        groups[key] = pd.Series([row[key] for row in rows], dtype=object)
    fair = (groups["basis"] == main_basis).to_numpy(dtype=bool)
    groups["front"] = fair & pareto(groups["mean"].where(fair), groups["seconds"], up=chosen.up)
    same = ranked & (basis == main_basis)
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
        notes=tuple(notes(found, chosen, by, groups, ranked, figure, main_basis)),
    )


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
    """The basis of a figure beside the run: the particles of an NLL, or that there is no density."""
    import pandas as pd

    basis = pd.Series("", index=found.keys.index, dtype=object)
    if metric.short in BY_PARTICLES and (name := f"{metric.part}/num_particles") in found.figures:
        known = found.figures[name].dropna()
        basis[known.index] = [f"{int(k)} particles" for k in known]
    if metric.short in NEED_A_DENSITY:
        basis[found.states["no_evidence"].notna()] = "no density"
    return basis


def _main_basis(basis: Sequence[str]) -> str:
    """The one that is ranked first, and within which is compared: that of most runs; of ties, with more particles."""
    counts = Counter(b for b in basis if b != "no density") or Counter(basis)
    return max(counts, key=lambda b: (counts[b], int(b.split()[0]) if b[:1].isdigit() else 0), default="")


def _per_datum(found: Gathered, metric: Metric) -> tuple[str, dict[int, Any]]:
    """The figure that differences are of, and its values per test datum by job."""
    tables = {
        j: t[metric.short] for j, t in found.tables.items() if metric.short in t and t[metric.short].notna().all()
    }
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
