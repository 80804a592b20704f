"""The inference gap, datum by datum."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from ppl_vae.plots.style import BLUE, INK, MUTED, ORANGE, grid_lines, new_figure, styled

if TYPE_CHECKING:
    import pandas as pd


@styled
def gaps(table: "pd.DataFrame", most: int = 40) -> Figure:
    """Draw approximation and amortization gap of the data that lose most, and how all are distributed.

    Args:
        table: what [`gaps`][ppl_vae.diagnostics.gaps.gaps] gives; nats.
        most: how many data the bars show.

    >>> import pandas as pd
    >>> gaps(pd.DataFrame({"approximation": [0.5, 1.5], "amortization": [1.0, 0.0]})).axes[0].get_title(loc="left")
    'Gap between log p(x) and ELBO: mean 1.50 nats'
    """
    both = table[["approximation", "amortization"]]
    worst = both.assign(total=both.sum(axis=1)).sort_values("total", ascending=False).head(most)
    figure = new_figure(8.4, 3.2)
    left, right = figure.subplots(1, 2, width_ratios=[2.2, 1])
    place = np.arange(len(worst))
    low = worst["approximation"].clip(lower=0).to_numpy()
    left.bar(place, low, color=BLUE, width=0.85, label="approximation: the family")
    left.bar(
        place,
        worst["amortization"].clip(lower=0).to_numpy(),
        bottom=low,
        color=ORANGE,
        width=0.85,
        label="amortization: the network",
    )
    every = max(1, len(worst) // 20)
    left.set_xticks(place[::every], [str(i) for i in worst.index[::every]], rotation=90, fontsize=7)
    left.set_title(f"Gap between log p(x) and ELBO: mean {both.sum(axis=1).mean():.2f} nats")
    left.set_xlabel("datum, largest gap first", color=MUTED)
    left.set_ylabel("nats", color=MUTED)
    left.legend(loc="upper right")
    grid_lines(left)
    top = float(np.nanmax(both.to_numpy()))
    bins = np.linspace(min(0.0, float(np.nanmin(both.to_numpy()))), max(top, 1e-6), 25).tolist()
    for name, colour in (("approximation", BLUE), ("amortization", ORANGE)):
        right.hist(both[name], bins=bins, color=colour, alpha=0.6, label=name)
        mean = right.axvline(both[name].mean(), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    mean.set_label("means")
    right.set_title(f"All {len(both)} data")
    right.set_xlabel("gap, nats", color=MUTED)
    right.set_ylabel("data", color=MUTED)
    right.legend(loc="upper right")
    return figure
