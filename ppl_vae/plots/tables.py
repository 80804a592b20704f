"""Pictures of tables: the counterparts of samples, reconstructions and traversals for data without pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from ppl_vae.plots.style import BLUE, LINES, MUTED, VERMILION, grid_lines, new_figure, styled

_MOST = 12


def _names(names: Sequence[str] | None, width: int) -> list[str]:
    return [str(n) for n in names] if names is not None else [f"feature {i}" for i in range(width)]


def _cut(name: str, most: int = 22) -> str:
    """A name that does not reach into the next panel."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _flat(values: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(values, dtype=np.float64)
    return values.reshape(len(values), -1)


def _panels(count: int, height: float = 1.9) -> tuple[Figure, list]:  # type: ignore[type-arg]
    columns = min(4, count)
    rows = -(-count // columns)
    figure = new_figure(max(2.2 * columns + 0.4, 4.4), height * rows + 0.5)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.set_visible(False)
    return figure, axes[:count]


def _legend(figure: Figure, axes: Axes) -> None:
    """The curves of one panel, which are those of all, told outside of them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=int(figure.get_figwidth() / 2.2))


def _called(axis: Any, words: Sequence[Sequence[str]] | None, feature: int) -> None:
    """Write the names of values at an axis, as many as can be read."""
    own = () if words is None else words[feature]
    if 0 < len(own) <= 6:
        told = [word if len(word) <= 8 else f"{word[:7]}…" for word in own]
        axis.set_ticks(range(len(own)), told, fontsize=7, rotation=30 if sum(map(len, told)) > 14 else 0)


@styled
def sample_marginals(
    data: ArrayLike,
    samples: ArrayLike,
    feature_names: Sequence[str] | None = None,
    words: Sequence[Sequence[str]] | None = None,
) -> Figure:
    """Draw each feature's distribution in the data and in samples from the model; the first 12 features.

    Args:
        data: `(n, features)`; NaN is left out.
        samples: `(m, features)`; NaN is left out.
        feature_names: names of the features.
        words: of each feature what its values 0, 1, … are called, or nothing.

    >>> sample_marginals(np.zeros((5, 2)), np.ones((5, 2)), ["height", "weight"]).axes[1].get_xlabel()
    'weight'
    """
    data, samples = _flat(data), _flat(samples)
    names = _names(feature_names, data.shape[1])
    count = min(data.shape[1], _MOST)
    figure, panels = _panels(count)
    for i, axes in enumerate(panels):
        column, drawn = (values[~np.isnan(values[:, i]), i] for values in (data, samples))
        both = np.concatenate([column, drawn])
        low, high = np.quantile(both, [0.002, 0.998]) if both.size else (0.0, 0.0)
        whole = np.all(column == np.round(column)) and high - low < 40
        bins = np.arange(np.floor(low) - 0.5, np.ceil(high) + 1) if whole else np.linspace(low, high, 31)
        if high <= low:
            bins = np.array([low - 0.5, low + 0.5])
        seen = {"color": BLUE, "alpha": 0.45, "label": "data"}
        made = {"color": VERMILION, "histtype": "step", "linewidth": 1.5, "label": "samples from the model"}
        for values, style in ((column, seen), (drawn, made)):
            # A density needs something within its bins: a few sequences may all have ended before this step.
            density = bool(np.any((values >= bins[0]) & (values <= bins[-1])))
            axes.hist(values, bins=bins, density=density, **style)
        axes.set_xlabel(names[i], color=MUTED)
        axes.set_yticks([])
        _called(axes.xaxis, words, i)
        axes.spines["left"].set_visible(False)
    figure.supylabel("density", color=MUTED, fontsize=9)
    _legend(figure, panels[0])
    return figure


@styled
def feature_reconstructions(
    data: ArrayLike,
    reconstructed: ArrayLike,
    feature_names: Sequence[str] | None = None,
    words: Sequence[Sequence[str]] | None = None,
) -> Figure:
    """Draw the mean of p(x | z), z ~ q(z | x), against x for the first 12 features, `(n, features)` each.

    Args:
        data: x; NaN is left out.
        reconstructed: of each datum.
        feature_names: names of the features.
        words: of each feature what its values 0, 1, … are called, or nothing: these are drawn side by side.

    >>> feature_reconstructions(np.zeros((5, 2)), np.ones((5, 2)), ["height", "weight"]).axes[1].get_title(loc="left")
    'weight'
    """
    data, reconstructed = _flat(data), _flat(reconstructed)
    names = _names(feature_names, data.shape[1])
    figure, panels = _panels(min(data.shape[1], _MOST), height=2.1)
    spread = np.random.default_rng(0).uniform(-0.2, 0.2, size=(2, len(data)))  # codes would lie upon one another
    for i, axes in enumerate(panels):
        apart = spread if words is not None and words[i] else 0 * spread
        axes.scatter(
            data[:, i] + apart[0],
            reconstructed[:, i] + apart[1],
            s=float(np.clip(2_000 / len(data), 2, 12)),
            color=BLUE,
            alpha=0.5,
            linewidths=0,
        )
        there = data[~np.isnan(data[:, i]), i]
        low, high = there.min(initial=np.inf), there.max(initial=-np.inf)
        axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        axes.set_title(_cut(names[i]), fontsize=8.5)
        _called(axes.xaxis, words, i)
        _called(axes.yaxis, words, i)
    figure.supxlabel("data x; dashed: reconstructed exactly", color=MUTED, fontsize=9)
    figure.supylabel("mean of p(x | z), z ~ q(z | x)", color=MUTED, fontsize=9)
    return figure


@styled
def feature_traversals(
    means: ArrayLike,
    values: ArrayLike | Sequence[str],
    names: Sequence[str],
    feature_names: Sequence[str] | None = None,
    data: ArrayLike | None = None,
) -> Figure:
    """Draw how the mean of x moves with one latent unit after the other.

    Args:
        means: `(units, steps, features)`.
        values: the values that a unit takes, `(steps,)`, or `(units, steps)` where each has its own; or names of
            categories, `(steps,)`.
        names: a name per unit.
        feature_names: names of the features; the six that move most are told apart, the others are grey.
        data: `(n, features)`, by whose means and standard deviations features are drawn, since their units differ; NaN
            is left out.

    >>> figure = feature_traversals(np.zeros((1, 2, 3)), ["left", "right"], ["y"])
    >>> [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    ['left', 'right']
    """
    means = np.array(means, dtype=np.float64)  # a copy
    means = means.reshape(*means.shape[:2], -1)
    if data is not None:
        known = _flat(data)
        some = ~np.isnan(known).all(0)  # a feature of which nothing is known stays as it is
        scale = np.nanstd(known[:, some], 0)
        means[..., some] = (means[..., some] - np.nanmean(known[:, some], 0)) / np.where(scale > 0, scale, 1)
    told = np.asarray(values)
    categories = told.tolist() if told.dtype.kind in "US" else None
    told = np.arange(means.shape[1]) if categories else told.astype(np.float64)
    places = np.broadcast_to(told, means.shape[:2])
    style: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": "none"} if categories else {}
    features = _names(feature_names, means.shape[2])
    shown = np.argsort(-np.ptp(means, axis=1).max(0))
    figure, panels = _panels(min(len(means), _MOST))
    for unit, axes in enumerate(panels):
        for feature in shown[len(LINES) :]:
            axes.plot(places[unit], means[unit][:, feature], **{"color": "#d5dbe1", "linewidth": 0.8, **style})
        for colour, feature in zip(LINES, shown, strict=False):
            axes.plot(places[unit], means[unit][:, feature], color=colour, label=features[feature], **style)
        axes.set_title(names[unit], fontsize=8.5)
        if categories:
            axes.set_xticks(range(len(categories)), categories, fontsize=7, rotation=90 if len(categories) > 6 else 0)
        grid_lines(axes)
    if len(shown) > len(LINES):
        panels[0].plot([], [], color="#d5dbe1", label="other features", **style)
    figure.supxlabel("category" if categories else "value of the unit", color=MUTED, fontsize=9)
    figure.supylabel("mean of x" if data is None else "mean of x, standardized", color=MUTED, fontsize=9)
    _legend(figure, panels[0])
    return figure
