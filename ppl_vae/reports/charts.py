"""Drawings of a page: learning curves, k̂ of each datum, KL of each latent unit, each told in words, too."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppl_vae.core.evidence import THRESHOLD
from ppl_vae.diagnostics.judgements import percent
from ppl_vae.reports.lines import Bar, Chart, Line, finite
from ppl_vae.reports.tables import text

Rows = Sequence[Mapping[str, Any]]
Points = list[tuple[float, float]]

EARLY = 10
"""One part in so many of training is early: limits of a drawing do not follow it."""

MOST_UNITS = 120
"""Units of a drawing at most, those with the largest KL."""


def best_epoch(rows: Rows) -> tuple[float, float, str] | None:
    """The epoch, the value and the name of the best validation bound, by which weights are kept."""
    for key in ("validation/bound", "validation/elbo"):
        if points := _points(rows, key):
            return (*max(points, key=lambda point: point[1]), key.replace("/", " "))
    return None


def last(rows: Rows) -> float:
    """The last epoch."""
    return max((x for x, _ in finite([(row.get("epoch"), 0.0) for row in rows])), default=0.0)


def generalization(rows: Rows, epoch: float) -> float | None:
    """The training ELBO less the validation ELBO after an epoch, where both are known."""
    training, validation = (dict(_points(rows, key)).get(epoch) for key in ("train/elbo", "validation/elbo"))
    return None if training is None or validation is None else training - validation


def learning(rows: Rows) -> list[Chart]:
    """The bound, its two parts and what is scheduled, against epochs."""
    training, validation, bound = (_points(rows, k) for k in ("train/elbo", "validation/elbo", "validation/bound"))
    found = []
    lines = [Line("training ELBO", training, 1), Line("validation ELBO", validation, 2)]
    if bound and not _alike(bound, validation):
        lines.append(Line("validation bound", bound, 5, dashed=True))
    lines = [line for line in lines if line.points]
    if lines:
        best = best_epoch(rows)
        kept = [(best[0], best[1], f"kept: {best[2]} {text(best[1])}, epoch {best[0]:g}")] if best else []
        found.append(
            Chart(
                "Evidence lower bound", "epoch", "nats per datum", _course(lines), lines=lines, points=kept,
                limits=_late([line.points for line in lines]),
            )
        )  # fmt: skip
    rebuilt = [(x, -y) for x, y in _points(rows, "validation/log_likelihood")]
    if rebuilt:
        line = Line("reconstruction, −log p(x | z)", rebuilt, 1)
        found.append(
            Chart("Reconstruction", "epoch", "nats per datum (validation)", _course([line]), lines=[line],
                  limits=_late([rebuilt]))
        )  # fmt: skip
    names = sorted({k for row in rows for k in row if k.startswith("validation/kl/")})
    kl = [Line(f"KL of {k.removeprefix('validation/kl/')}", _points(rows, k), 1 + i % 8) for i, k in enumerate(names)]
    kl = [line for line in kl if line.points]
    if kl:
        found.append(Chart("Rate", "epoch", "nats per datum (validation)", _course(kl), lines=kl))
    for key, name in (("beta", "β, weight of the KL"), ("lr", "learning rate")):
        points = _points(rows, key)
        if len({y for _, y in points}) > 1:
            line = Line(name, points, 3)
            found.append(Chart(f"Schedule of the {name}" if key == "lr" else "Schedule of β", "epoch", name,
                               _course([line]), lines=[line]))  # fmt: skip
    return found


def pareto_k(values: Any) -> tuple[Chart, str]:
    """The distribution of k̂ over data; what lies beyond 0.7 has another colour."""
    k = np.asarray(values, dtype=np.float64)
    k = k[~np.isnan(k)]
    step, top = 0.05, 1.5
    low = float(np.floor(max(min(k.min(initial=0.0), 0.0), -0.5) / step) * step)
    edges = np.arange(low, top + step / 2, step).round(6)
    inside = np.clip(k, low, top - step / 2)
    count, _ = np.histogram(inside, edges)
    last = len(count) - 1
    bars = [
        Bar(
            float(a), float(a + step), float(n),
            f"k̂ from {text(float(a))}{'' if i == last else f' to {text(float(a + step))}'}: {n} data",
            2 if a >= THRESHOLD - 1e-9 else 1,
        )
        for i, (a, n) in enumerate(zip(edges[:-1], count, strict=True))
    ]  # fmt: skip
    share = float((k > THRESHOLD).mean()) if len(k) else 0.0
    told = (
        f"k̂ of {len(k)} data: half lie below {text(float(np.median(k)))}, the largest is {text(float(k.max()))}, and "
        f"{percent(share)} exceed {THRESHOLD}."
    )
    rules = [(THRESHOLD, f"{THRESHOLD}")]
    return Chart("Pareto k̂ per datum", "k̂", "data", told, bars=bars, rules=rules), told


def units(table: Any) -> tuple[Chart | None, str]:
    """KL of each latent unit, site by site; inactive units are pale."""
    found = [
        (str(row["site"]), str(row["unit"]), float(row["kl"]), str(row["active"]) == "True")
        for _, row in table.iterrows()
        if finite([(0, row["kl"])])
    ]
    if not found:
        return None, ""
    shown, sites = found, list(dict.fromkeys(site for site, *_ in found))
    if len(found) > MOST_UNITS:
        least = sorted((kl for _, _, kl, _ in found), reverse=True)[MOST_UNITS - 1]
        shown = [unit for unit in found if unit[2] >= least][:MOST_UNITS]
    bars = [
        Bar(i - 0.4, i + 0.4, kl, f"{site}[{unit}] {text(kl)} nats{'' if active else ', inactive'}", 1 if active else 9)
        for i, (site, unit, kl, active) in enumerate(shown)
    ]
    if len(sites) == 1:
        every = max(1, len(shown) // 10)
        marks = [(float(i), unit) for i, (_, unit, _, _) in enumerate(shown) if i % every == 0]
    else:
        middles = {s: float(np.mean([i for i, u in enumerate(shown) if u[0] == s])) for s in {u[0] for u in shown}}
        marks, free = [], -1.0
        for site, place in sorted(middles.items(), key=lambda pair: pair[1]):
            if place >= free:  # no name over another
                marks.append((place, site if len(site) <= 10 else f"{site[:9]}…"))
                free = place + len(shown) * (0.03 + 0.02 * min(len(site), 10))
    most = max(found, key=lambda unit: unit[2])
    active = sum(unit[3] for unit in found)
    total = sum(unit[2] for unit in found)
    told = f"{active} of {len(found)} units are active; {most[0]}[{most[1]}] has the largest KL"
    told += f", {text(most[2])} of {text(total)} nats"
    told += f" over {len(sites)} sites." if len(sites) > 1 else "."
    name = f"unit of {sites[0]}" if len(sites) == 1 else "units, site by site"
    title = "KL per unit" + (f", the {len(shown)} largest of {len(found)}" if len(shown) < len(found) else "")
    return Chart(title, name, "nats per datum", told, bars=bars, marks=marks), told


def _points(rows: Rows, key: str) -> Points:
    return finite([(row.get("epoch"), row.get(key)) for row in rows])


def _alike(a: Points, b: Points) -> bool:
    return len(a) == len(b) and all(abs(x[1] - y[1]) <= 1e-5 * abs(x[1]) + 1e-8 for x, y in zip(a, b, strict=True))


def _late(curves: Sequence[Sequence[tuple[float, float]]]) -> tuple[float, float] | None:
    """Limits of what happens after a tenth of training: the first epochs would flatten all that is worth seeing."""
    values = [y for points in curves for _, y in points[len(points) // EARLY :]]
    low, high = min(values), max(values)
    return (low - 0.06 * (high - low), high + 0.08 * (high - low)) if high > low else None


def _course(lines: Sequence[Line]) -> str:
    """The values with which lines begin and end, in words."""
    parts = [
        f"{line.label} from {text(line.points[0][1])} at epoch {line.points[0][0]:g} to {text(line.points[-1][1])} at "
        f"epoch {line.points[-1][0]:g}"
        for line in lines[:8]
    ]
    more = [f"and {len(lines) - 8} more lines"] if len(lines) > 8 else []
    return "; ".join([*parts, *more]) + "."
