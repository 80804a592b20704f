"""Learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ppl_vae.plots.style import BLUE, INK, LINES, MUTED, ORANGE, VERMILION, grid_lines, new_figure, styled


@styled
def learning_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the bound, its two parts and the schedule against epochs.

    Args:
        rows: the lines of `metrics.jsonl`: `epoch`, `train/elbo`, `validation/elbo`, `validation/kl/<site>`,
            `validation/log_likelihood`, `lr`, `beta`, all but `epoch` optional; nats per datum.

    Returns:
        A figure with one panel for the bound, one for its parts where known, and one for the schedule where
        anything changed.
    """
    kl = sorted({key for row in rows for key in row if key.startswith("validation/kl/")})
    varying = [key for key in ("beta", "lr") if len(set(_column(rows, key)[1])) > 1]
    has_parts = bool(kl) or len(_column(rows, "validation/log_likelihood")[0]) > 0
    panels = 1 + has_parts + bool(varying)
    figure = new_figure(3.7 * panels + 0.6, 3.1)
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    _bound(axes.pop(0), rows)
    if has_parts:
        _parts(axes.pop(0), rows, kl)
    if varying:
        _schedule(axes.pop(0), rows, varying)
    return figure


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[NDArray[Any], NDArray[Any]]:
    pairs = [(row["epoch"], row[key]) for row in rows if row.get(key) is not None]
    array = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    array = array[np.isfinite(array[:, 1])]
    return array[:, 0], array[:, 1]


def _bound(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    curves = {
        "training ELBO": ("train/elbo", BLUE, "-"),
        "validation ELBO": ("validation/elbo", VERMILION, "-"),
        "validation bound": ("validation/bound", ORANGE, (0, (4, 2))),
    }
    elbo, bound = (_column(rows, f"validation/{name}")[1] for name in ("elbo", "bound"))
    if elbo.shape == bound.shape and np.allclose(elbo, bound, equal_nan=True):
        del curves["validation bound"]  # the objective is the ELBO: one line, not two
    drawn = []
    for label, (key, color, style) in curves.items():
        epoch, value = _column(rows, key)
        if len(epoch):
            marker = "o" if len(epoch) == 1 else None
            axes.plot(epoch, value, color=color, linestyle=style, label=label, marker=marker)
            drawn.append(value)
    _finish(axes, "Evidence lower bound", "nats per datum")
    if drawn:
        # The first epochs fall off the edge of a useful scale: show what happens after a tenth of training.
        late = np.concatenate([v[len(v) // 10 :] for v in drawn])
        late = late[np.isfinite(late)]
        if len(late) and np.ptp(late) > 0:
            axes.set_ylim(late.min() - 0.06 * np.ptp(late), late.max() + 0.08 * np.ptp(late))
    key = "validation/bound" if len(bound) else "validation/elbo"
    epoch, value = _column(rows, key)
    if len(value) and np.isfinite(value).any():
        best = int(np.nanargmax(value))
        label = f"best {value[best]:.2f}, epoch {epoch[best]:.0f}".replace("-", "−")
        axes.plot(epoch[best], value[best], "o", color=VERMILION, markersize=5, zorder=5, label=label)
    if drawn:
        axes.legend(loc="lower right")


def _parts(axes: Axes, rows: Sequence[Mapping[str, Any]], kl: Sequence[str]) -> None:
    epoch, value = _column(rows, "validation/log_likelihood")
    axes.plot(epoch, -value, color=INK, label="reconstruction, −log p(x | z)")
    for key, color in zip(kl, np.resize(LINES, len(kl)), strict=True):
        axes.plot(*_column(rows, key), color=str(color), label=f"KL of {key.removeprefix('validation/kl/')}")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]), top=axes.get_ylim()[1] * 1.12)
    _finish(axes, "Reconstruction and rate", "nats per datum (validation)")
    axes.legend(loc="best")


def _schedule(axes: Axes, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    names = {"beta": "β, weight of the KL", "lr": "learning rate"}
    for key, color in zip(keys, (BLUE, VERMILION), strict=False):
        epoch, value = _column(rows, key)
        top = value.max() or 1.0
        label = names[key] if len(keys) == 1 else f"{names[key]} / {top:.3g}"
        axes.plot(epoch, value if len(keys) == 1 else value / top, color=color, label=label)
    axes.set_ylim(bottom=0)
    _finish(axes, "Schedule", names[keys[0]] if len(keys) == 1 else "fraction of the largest value")
    axes.legend(loc="best")


def _finish(axes: Axes, title: str, ylabel: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("epoch", color=MUTED)
    axes.set_ylabel(ylabel, color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    grid_lines(axes)
