"""Pictures of calibration: rank ECDFs with simultaneous bands, and coverage."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from ppl_vae.diagnostics.calibration import central_coverage, ecdf_difference, grid, simultaneous_band
from ppl_vae.plots.style import BLUE, INK, MUTED, SKY, VERMILION, grid_lines, new_figure, styled

_TOLD = 5  # units that leave the band, by name


@styled
def calibration(
    ranks: ArrayLike,
    name: str = "z",
    alpha: float = 0.05,
    num_points: int = 50,
    place: str = "rank of the truth among the guide's draws",
    names: Sequence[str] | None = None,
) -> Figure:
    """Draw the departure of rank distributions from uniformity, and the coverage of central intervals.

    Args:
        ranks: `(simulations, units)` in [0, 1].
        name: the latent site.
        alpha: probability with which one unit of an exact guide leaves the band anywhere.
        num_points: points at which the band is evaluated.
        place: what the ranks are.
        names: what units are called, by default `name` and their number.

    >>> calibration(np.linspace(0, 1, 200)[:, None]).axes[0].get_title(loc="left")
    'Ranks of z: 0 of 1 leave the band'
    """
    ranks = np.asarray(ranks, dtype=np.float64)
    n = len(ranks)
    figure = new_figure(8.4, 3.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.35, 1])
    points = grid(num_points)
    low, high = simultaneous_band(n, num_points, alpha)
    left.fill_between(points, low, high, color=SKY, alpha=0.3, linewidth=0, label=f"{1 - alpha:.0%} band, simultaneous")
    difference = ecdf_difference(ranks, points)
    out = np.any((difference < low[:, None]) | (difference > high[:, None]), axis=0).reshape(-1)
    labels = {False: "a unit" if len(out) > 1 else name, True: "a unit that leaves it" if len(out) > 1 else name}
    for unit in np.argsort(out):
        label = labels.pop(bool(out[unit]), None)
        colour = VERMILION if out[unit] else BLUE
        left.plot(points, difference[:, unit], color=colour, linewidth=1.1, alpha=0.85, label=label)
    for unit in np.flatnonzero(out)[:_TOLD] if len(out) > 1 else []:
        far = int(np.abs(difference[:, unit]).argmax())
        left.annotate(
            f"{name}[{unit}]" if names is None else names[unit],
            (points[far], difference[far, unit]),
            (0, 7 if difference[far, unit] > 0 else -7),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=7.5,
            color=VERMILION,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
    left.axhline(0, color=MUTED, linewidth=0.8)
    left.set_title(f"Ranks of {name}: {int(out.sum())} of {len(out)} leave the band")
    left.set_xlabel(place, color=MUTED)
    left.set_ylabel("ECDF − uniform", color=MUTED)
    left.legend(loc="upper right", fontsize=7.5)
    left.margins(x=0, y=0.25)
    bottom, top = left.get_ylim()
    left.set_ylim(bottom, top + 0.15 * (top - bottom))  # the legend's place, over what is named
    grid_lines(left)
    levels = np.linspace(0.05, 0.95, 19)
    covered = central_coverage(ranks, levels)
    right.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), label="exact")
    if covered.shape[1] > 1:
        first, *_ = right.plot(levels, covered, color=BLUE, linewidth=0.8, alpha=0.4)
        first.set_label("a unit")
    several = covered.shape[1] > 1
    right.plot(levels, covered.mean(axis=1), color=INK, linewidth=2, label="mean over units" if several else name)
    right.set_title("Coverage of central intervals")
    right.set_xlabel("nominal", color=MUTED)
    right.set_ylabel("actual", color=MUTED)
    right.set_xlim(0, 1)
    right.set_ylim(0, 1)
    right.set_aspect("equal")
    right.legend(loc="upper left")
    grid_lines(right)
    return figure
