"""Ranks of known latents among the guide's draws, as drawings: their departure from uniform, and coverage."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ppl_vae.diagnostics.calibration import (
    LEVEL,
    TARP,
    central_coverage,
    ecdf_difference,
    grid,
    simultaneous_band,
)
from ppl_vae.reports.lines import Chart, Line

MOST_SITES = 6
"""Sites whose ranks are drawn, those that depart most."""

MOST_UNITS = 8
"""Units of a site whose ranks are drawn, those that depart most."""

POINTS = 50


def rank_charts(ranks: Mapping[str, Any]) -> list[Chart]:
    """A drawing for each site that departs most, and one of the coverage of central intervals.

    Args:
        ranks: `Calibration.ranks`: by site, and under `TARP` of all units together, `(simulations, units)`.
    """
    arrays = {name: np.asarray(r, dtype=np.float64) for name, r in ranks.items()}
    known = {name: r.reshape(len(r), -1) for name, r in arrays.items() if r.size and len(r) > 1}
    known = {name: r for name, r in known.items() if np.isfinite(r).all()}
    drawn = {name: _of_site(name, r) for name, r in known.items()}
    order = sorted(drawn, key=lambda name: (name != TARP, -drawn[name][1]))
    charts = [drawn[name][0] for name in order[: MOST_SITES + (TARP in drawn)]]
    return [*charts, _coverage(known)] if charts else []


def _of_site(name: str, ranks: Any) -> tuple[Chart, float]:
    points = grid(POINTS)
    low, high = simultaneous_band(len(ranks), POINTS, LEVEL)
    away = ecdf_difference(ranks, points)
    out = np.any((away < low[:, None]) | (away > high[:, None]), axis=0).reshape(-1)
    most = np.abs(away).max(0)
    lines = [
        Line(
            "all units" if name == TARP else f"{name}[{unit}]",
            [(float(x), float(y)) for x, y in zip(points, away[:, unit], strict=True)],
            2 if out[unit] else 1,
        )
        for unit in np.argsort(-most, kind="stable")[:MOST_UNITS]
    ]
    units = f"{out.sum()} of {len(out)} units"
    left = f"{'leaves' if out.all() else 'stays within'} the band" if name == TARP else f"{units} leave the band"
    place = "share of draws nearer to the reference than the truth" if name == TARP else "rank of the truth among draws"
    chart = Chart(
        f"All units together (TARP): {left}" if name == TARP else f"Ranks of {name}: {left}",
        place,
        "ECDF − uniform",
        f"Departure of ranks from uniform, {name}: {left}; the largest is {most.max():.3f}, where the band of "
        f"{len(ranks)} simulations is {high.max():.3f} wide at most.",
        lines=lines,
        band=[(float(x), float(a), float(b)) for x, a, b in zip(points, low, high, strict=True)],
        keyed=False,
    )
    return chart, float(most.max())


def _coverage(known: Mapping[str, Any]) -> Chart:
    levels = np.linspace(0.05, 0.95, 19)
    means = {name: central_coverage(r, levels).mean(1) for name, r in known.items() if name != TARP}
    order = sorted(means, key=lambda name: -float(np.abs(means[name] - levels).max()))[:MOST_UNITS]
    lines = [Line("exact", [(0.0, 0.0), (1.0, 1.0)], 9, dashed=True)]
    for i, name in enumerate(order):
        pairs = [(float(a), float(b)) for a, b in zip(levels, means[name], strict=True)]
        lines.append(Line(f"{name}, mean over units", pairs, 1 + i))
    told = "; ".join(f"{name}: 90% intervals hold {means[name][17]:.1%}" for name in order)
    limits = (0.0, 1.0)
    return Chart("Coverage of central intervals", "nominal", "actual", f"Coverage: {told}.", lines=lines, limits=limits)
