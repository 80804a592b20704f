"""The cost of each gradient estimator: its variance per site, and its variance × time."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ppl_vae.plots.style import BLUE, INK, LINES, MUTED, grid_lines, new_figure, styled


@styled
def gradient_variances(table: pd.DataFrame) -> Figure:
    """Draw the variance of each estimator, a panel per site and group of parameters.

    Args:
        table: `GradientReport.table`; an estimator whose bias is significant (`bias_z` > 4) is marked.

    >>> columns = {"estimator": ["pathwise"], "site": ["z"], "group": ["guide"], "variance": [2.0]}
    >>> table = pd.DataFrame(columns | {"variance_ratio": [1.0], "bias_z": [0.3]})
    >>> gradient_variances(table).axes[0].get_title(loc="left")
    'guide parameters of z'
    """
    groups = list(dict.fromkeys(zip(table.site, table.group, strict=True)))
    estimators: Sequence[str] = list(dict.fromkeys(table.estimator))
    figure = new_figure(3.4 + 2.6 * len(groups), 1.0 + 0.42 * len(estimators))
    panels = np.atleast_1d(figure.subplots(1, len(groups), sharex=True, sharey=True))
    positive = table.variance[table.variance > 0]
    floor = (positive.min() if len(positive) else 1.0) / 3
    for axes, (site, group) in zip(panels, groups, strict=True):
        rows = table[(table.site == site) & (table.group == group)].set_index("estimator").loc[estimators]
        values = rows.variance.clip(lower=floor)
        colours = [BLUE if z <= 4 else LINES[1] for z in rows.bias_z]
        axes.barh(range(len(estimators)), values - floor, left=floor, height=0.62, color=colours)
        axes.set_xscale("log")
        axes.set_xlim(floor, max(table.variance.max(), 3 * floor) * 40)
        for i, (value, ratio, z) in enumerate(zip(rows.variance, rows.variance_ratio, rows.bias_z, strict=True)):
            note = f" {value:,.0f}" if value >= 100 else f" {value:.2g}"
            note += (f"  ({ratio:,.0f}×)" if ratio >= 1.5 else "") + ("  biased" if z > 4 else "")
            axes.text(max(value, floor), i, note, va="center", color=INK, fontsize=8)
        axes.set_title(f"{group} parameters of {site}")
        axes.set_xlabel("variance of the gradient")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        grid_lines(axes, "x")
    panels[0].set_yticks(range(len(estimators)), estimators, color=INK)
    panels[0].set_ylabel("estimator", color=MUTED)
    panels[0].invert_yaxis()
    for axes in panels:
        axes.xaxis.label.set_color(MUTED)
    return figure
