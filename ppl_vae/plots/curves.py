"""Learning curves."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ppl_vae.errors import ArgumentError
from ppl_vae.plots.style import BLUE, INK, LINES, MUTED, ORANGE, VERMILION, grid_lines, new_figure, styled

if TYPE_CHECKING:
    from ppl_vae.training.history import History


@styled
def learning_curves(rows: "Sequence[Mapping[str, Any]] | History") -> Figure:
    """Draw the bound, its two parts and the schedule against epochs.

    Args:
        rows: a `History`, or the lines of `metrics.jsonl`: `epoch`, `train/elbo`, `validation/elbo`,
            `validation/kl/<site>`, `validation/log_likelihood`, `lr`, `beta`, all but `epoch` optional; nats per datum.

    Returns:
        A figure with a panel for the bound, one for the reconstruction and one for the KL where they are known, and one
        for the schedule where anything changed.

    Raises:
        ArgumentError: rows that are no lines of metrics.

    >>> rows = [{"epoch": e, "validation/log_likelihood": -9.0, "validation/kl/z": 2.0} for e in (1, 2)]
    >>> [axes.get_title(loc="left") for axes in learning_curves(rows).axes]
    ['Evidence lower bound', 'Reconstruction', 'KL']
    """
    rows = rows if isinstance(rows, Sequence) else rows.rows
    if any("epoch" not in row for row in rows):
        raise ArgumentError("Got rows without epoch, expected the lines of metrics.jsonl, or what pv.fit gives.")
    kl = sorted({key for row in rows for key in row if key.startswith("validation/kl/")})
    varying = [key for key in ("beta", "lr") if len(set(_column(rows, key)[1])) > 1]
    panels: list[Callable[[Axes], None]] = [lambda axes: _bound(axes, rows)]
    if len(_column(rows, "validation/log_likelihood")[0]):
        panels.append(lambda axes: _reconstruction(axes, rows))
    if kl:
        panels.append(lambda axes: _kl(axes, rows, kl))
    if varying:
        panels.append(lambda axes: _schedule(axes, rows, varying))
    columns = 2 if len(panels) == 4 else len(panels)
    figure = new_figure(3.7 * columns + 0.6, 3.1 * (len(panels) // columns))
    for draw, axes in zip(panels, figure.subplots(len(panels) // columns, columns, squeeze=False).flat, strict=True):
        draw(axes)
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
    _late(axes, drawn)
    key = "validation/bound" if len(bound) else "validation/elbo"
    epoch, value = _column(rows, key)
    if len(value) and np.isfinite(value).any():
        best = int(np.nanargmax(value))
        label = f"best {value[best]:.2f}, epoch {epoch[best]:.0f}".replace("-", "−")
        axes.plot(epoch[best], value[best], "o", color=VERMILION, markersize=5, zorder=5, label=label)
    if drawn:
        axes.legend(loc="lower right")


def _late(axes: Axes, drawn: Sequence[NDArray[Any]]) -> None:
    """Show what happens after a tenth of training: the first epochs fall off the edge of a useful scale."""
    late = np.concatenate([v[len(v) // 10 :] for v in drawn] or [np.empty(0)])
    if len(late) and np.ptp(late) > 0:
        axes.set_ylim(late.min() - 0.06 * np.ptp(late), late.max() + 0.08 * np.ptp(late))


def _reconstruction(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    epoch, value = _column(rows, "validation/log_likelihood")
    marker = "o" if len(epoch) == 1 else None
    axes.plot(epoch, -value, color=INK, marker=marker, label="−E[log p(x | z)], validation")
    _late(axes, [-value])
    _finish(axes, "Reconstruction", "nats per datum")
    axes.legend(loc="upper right")


def _kl(axes: Axes, rows: Sequence[Mapping[str, Any]], kl: Sequence[str]) -> None:
    """The KL of each site; of many the largest, the others together."""
    curves = {key.removeprefix("validation/kl/"): dict(zip(*_column(rows, key), strict=True)) for key in kl}
    order = sorted(curves, key=lambda name: -max(curves[name].values(), default=0.0))
    shown = order if len(order) <= len(LINES) else order[: len(LINES) - 1]
    rest = [curves[name] for name in order[len(shown) :]]
    for name, color in zip(shown, LINES, strict=False):
        marker = "o" if len(curves[name]) == 1 else None
        axes.plot(
            *_points(curves[name]), color=color, marker=marker, label=f"{name}, validation" * (len(kl) == 1) or name
        )
    if rest:
        epochs = set.intersection(*(set(c) for c in rest))
        axes.plot(
            *_points({e: sum(c[e] for c in rest) for e in epochs}), color=MUTED, label=f"the other {len(rest)} together"
        )
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]), top=axes.get_ylim()[1] * 1.12)
    _finish(axes, "KL" if len(kl) == 1 else "KL of each site, validation", "nats per datum")
    axes.legend(loc="best", ncols=1 + (len(shown) > 4))


def _points(curve: Mapping[float, float]) -> tuple[list[float], list[float]]:
    epochs = sorted(curve)
    return epochs, [curve[e] for e in epochs]


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
