"""Pictures of the latent space: the map, and what each unit carries."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text
from numpy.typing import ArrayLike, NDArray

from ppl_vae.errors import ArgumentError
from ppl_vae.plots.style import BLUE, CLASSES, INK, MUTED, VERMILION, grid_lines, new_figure, styled


def principal_components(points: ArrayLike, count: int = 2) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project points `(n, d)` on their first principal components.

    Returns:
        Coordinates `(n, count)` (each component's sign makes its largest loading positive, so that equal
        inputs give equal pictures) and the fraction of variance of each, `(count,)`.

    >>> points = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    >>> principal_components(points)[1].round(3).tolist()
    [1.0, 0.0]
    """
    points = np.asarray(points, dtype=np.float64)
    centred = points - points.mean(0)
    _, scale, loadings = np.linalg.svd(centred, full_matrices=False)
    loadings = loadings[:count]
    loadings = loadings * np.sign(loadings[np.arange(len(loadings)), np.abs(loadings).argmax(1)])[:, None]
    variance = scale**2
    return centred @ loadings.T, variance[:count] / max(variance.sum(), np.finfo(float).tiny)


@styled
def latent_map(
    means: ArrayLike,
    labels: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    name: str = "z",
) -> Figure:
    """Draw the posterior means in the plane, coloured by label.

    Args:
        means: E[z | x], `(data, latent)`. Two units are shown as they are, more by their first two principal
            components, a single one by its histogram.
        labels: `(data,)`, integers for classes or numbers for a scale; never seen by the model.
        class_names: names of the classes 0, 1, …
        name: the latent site.

    Raises:
        ArgumentError: another number of labels than of data.

    >>> latent_map(np.zeros((3, 2)), [0, 1, 1], ["cat", "dog"]).axes[0].get_xlabel()
    'E[z₀ | x]'
    """
    means = np.asarray(means, dtype=np.float64).reshape(len(np.asarray(means)), -1)
    if labels is not None and len(np.asarray(labels)) != len(means):
        raise ArgumentError(f"Got {len(np.asarray(labels))} labels for {len(means)} data, expected one of each.")
    figure = new_figure(4.8, 4.4)
    axes = figure.subplots()
    if means.shape[1] == 1:
        return _histogram(figure, axes, means[:, 0], labels, class_names, name)
    if means.shape[1] == 2:
        points, axis_names = means, [f"E[{name}₀ | x]", f"E[{name}₁ | x]"]
    else:
        points, explained = principal_components(means)
        axis_names = [f"principal component {i + 1} ({e:.0%} of the variance)" for i, e in enumerate(explained)]
    size = float(np.clip(16_000 / len(points), 4, 30))
    alpha = float(np.clip(3_000 / len(points), 0.4, 0.8))
    order = np.random.default_rng(0).permutation(len(points))  # no class is always drawn on top
    x, y = points[order].T
    labels = None if labels is None else np.asarray(labels).reshape(len(points), -1)[:, 0]
    classes = _classes(labels)
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=size, color=BLUE, alpha=alpha, linewidths=0)
    elif classes is None:
        shown = axes.scatter(x, y, c=labels[order], s=size, cmap="cividis", alpha=alpha, linewidths=0)
        figure.colorbar(shown, ax=axes, label="label", shrink=0.7)
    else:
        colours = np.array([CLASSES[int(np.searchsorted(classes, c)) % len(CLASSES)] for c in labels])
        axes.scatter(x, y, c=list(colours[order]), s=size, alpha=alpha, linewidths=0)
        _name_classes(axes, points, labels, classes, class_names)
    axes.set_xlabel(axis_names[0], color=MUTED)
    axes.set_ylabel(axis_names[1], color=MUTED)
    axes.set_title(f"Posterior means of {name}" + (" by class" if classes is not None else ""))
    axes.set_aspect("equal", adjustable="datalim")
    if classes is not None:
        _move_apart(figure, axes)
    return figure


def _name_classes(
    axes: Axes, points: NDArray[Any], labels: NDArray[Any], classes: NDArray[Any], class_names: Sequence[str] | None
) -> None:
    for i, c in enumerate(classes):
        axes.annotate(
            _name(c, class_names),
            tuple(np.median(points[labels == c], axis=0)),
            (0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=12 if len(classes) <= 10 else 9,
            fontweight="bold",
            color=_darker(CLASSES[i % len(CLASSES)]),
            path_effects=[withStroke(linewidth=4, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
            in_layout=False,  # it ends up within the axes: no room is needed
        )


def _move_apart(figure: Figure, axes: Axes, steps: int = 200) -> None:
    """Move names until none lies on another one, each with a line to its place; in pixels, within the axes."""
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.execute(figure)  # which tells where places are
    axes.apply_aspect()
    texts: list[Any] = [child for child in axes.get_children() if isinstance(child, Annotation)]
    anchors = np.array([axes.transData.transform(text.xy) for text in texts])
    half = np.array([[box.width, box.height] for box in (Text.get_window_extent(text) for text in texts)]) / 2 + 1
    inside = axes.get_window_extent()
    low, high = np.array([inside.x0, inside.y0]) + half, np.array([inside.x1, inside.y1]) - half
    at = np.clip(anchors, low, np.maximum(low, high))
    for _ in range(steps):
        apart = at[:, None] - at[None]
        lacking = half[:, None] + half[None] - np.abs(apart)
        lacking[np.arange(len(at)), np.arange(len(at))] = 0
        meets = (lacking > 0).all(-1)
        if not meets.any():
            break
        along = lacking.argmin(-1)[..., None] == np.arange(2)  # the shorter way out
        order = np.sign(np.arange(len(at))[:, None] - np.arange(len(at)))[..., None]
        away = np.where(apart == 0, order, np.sign(apart))
        at = np.clip(at + (0.55 * lacking * away * along * meets[..., None]).sum(1), low, np.maximum(low, high))
    for text, place, anchor in zip(texts, at, anchors, strict=True):
        text.set_position(tuple((place - anchor) * 72 / figure.dpi))


def _classes(labels: NDArray[Any] | None) -> NDArray[Any] | None:
    if labels is None or labels.dtype.kind == "f":
        return None
    classes = np.unique(labels)
    return classes if len(classes) <= 20 else None


def _name(value: Any, class_names: Sequence[str] | None) -> str:
    if class_names and isinstance(value, int | np.integer) and 0 <= value < len(class_names):
        return str(class_names[int(value)])
    return str(value)


def _darker(colour: str) -> tuple[float, ...]:
    return tuple(0.62 * int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def _histogram(
    figure: Figure,
    axes: Axes,
    values: NDArray[Any],
    labels: Any,
    class_names: Sequence[str] | None,
    name: str,
) -> Figure:
    bins = np.histogram_bin_edges(values, bins="auto")
    classes = _classes(None if labels is None else np.asarray(labels))
    if classes is None:
        axes.hist(values, bins=bins.tolist(), color=BLUE)
    else:
        parts = [values[np.asarray(labels) == c] for c in classes]
        colours = [CLASSES[i % len(CLASSES)] for i in range(len(classes))]
        axes.hist(
            parts,
            bins=bins.tolist(),
            stacked=True,
            color=colours,
            label=[_name(c, class_names) for c in classes],
        )
        figure.legend(loc="outside right upper")
    axes.set_title(f"Posterior means of {name}")
    axes.set_xlabel(f"E[{name} | x]", color=MUTED)
    axes.set_ylabel("data", color=MUTED)
    return figure


@styled
def kl_per_unit(
    kl: ArrayLike, active: ArrayLike | None = None, name: str = "z", labels: Sequence[str] | None = None
) -> Figure:
    """Draw the KL of each latent unit, largest first; units that carry nothing are pale.

    Args:
        kl: mean KL per unit, `(latent,)`, nats per datum.
        active: whether Var(E[z | x]) > 0.01, `(latent,)`.
        name: the latent site, or what the units are of.
        labels: of the units; by default their numbers.

    >>> kl_per_unit([0.0, 3.0], [False, True]).axes[0].get_title(loc="left")
    'KL per unit of z: 3.00 nats, 1 of 2 active'
    """
    kl = np.asarray(kl, dtype=np.float64).reshape(-1)
    active = np.ones(len(kl), dtype=bool) if active is None else np.asarray(active, dtype=bool).reshape(-1)
    order = np.argsort(-kl)
    figure = new_figure(float(np.clip(1.6 + 0.22 * len(kl), 5.2, 9.0)), 2.9)
    axes = figure.subplots()
    axes.bar(range(len(kl)), kl[order], color=[BLUE if a else "#b9c2cc" for a in active[order]], width=0.8)
    every = max(1, len(kl) // 30)
    told = [str(i) if labels is None else labels[i] for i in order[::every]]
    axes.set_xticks(range(0, len(kl), every), told, fontsize=7.5, rotation=0 if labels is None else 90)
    axes.set_xlabel(f"unit of {name}, largest first", color=MUTED)
    axes.set_ylabel("nats per datum", color=MUTED)
    axes.set_xlim(-0.8, len(kl) - 0.2)
    total = kl.sum()
    axes.set_title(f"KL per unit of {name}: {total:.2f} nats, {int(active.sum())} of {len(kl)} active")
    if not active.all():
        axes.text(0.99, 0.95, "pale: inactive", transform=axes.transAxes, ha="right", va="top", color=MUTED)
    grid_lines(axes)
    return figure


@styled
def information(table: Any) -> Figure:
    """Draw how the KL of each unit divides into information about the data and a misfit of all codes to the prior.

    Args:
        table: what [`aggregate`][ppl_vae.diagnostics.aggregate.aggregate] gives.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"unit": [0], "kl": [2.0], "information": [1.5], "marginal_kl": [0.5]})
    >>> [text.get_text() for text in information(table).axes[0].get_legend().get_texts()]
    ['information about x', 'KL of all codes to the prior']
    """
    units = table[table["unit"] != "joint"].sort_values("kl", ascending=False)
    figure = new_figure(float(np.clip(1.6 + 0.22 * len(units), 4.0, 9.0)), 2.9)
    axes = figure.subplots()
    told, rest = units["information"].clip(lower=0).to_numpy(), units["marginal_kl"].clip(lower=0).to_numpy()
    place = np.arange(len(units))
    axes.bar(place, told, color=BLUE, width=0.8, label="information about x")
    axes.bar(place, rest, bottom=told, color=VERMILION, width=0.8, label="KL of all codes to the prior")
    every = max(1, len(units) // 30)
    names = [f"{unit}" for unit in units["unit"]]
    axes.set_xticks(place[::every], names[::every], fontsize=7.5)
    axes.set_xlabel("unit, largest KL first", color=MUTED)
    axes.set_ylabel("nats per datum", color=MUTED)
    axes.legend()
    axes.set_title("What each unit's KL is spent on")
    grid_lines(axes)
    return figure


@styled
def pareto_k_histogram(values: ArrayLike, threshold: float = 0.7) -> Figure:
    """Draw the distribution of k̂ over data, with the part beyond the threshold marked.

    Args:
        values: k̂ of each datum, `(data,)`, as `Evaluation.table` has them; NaN is left out.
        threshold: beyond it, importance weights have so heavy a tail that the evidence is not to be trusted.

    References:
        Vehtari et al. (2024), Pareto Smoothed Importance Sampling, https://arxiv.org/abs/1507.02646

    >>> pareto_k_histogram([0.1, 0.3, 0.9, 1.2]).axes[0].texts[0].get_text()
    '50.0% beyond 0.7'
    """
    values = np.asarray(values, dtype=np.float64)
    known = values[np.isfinite(values)]
    figure = new_figure(4.6, 2.9)
    axes = figure.subplots()
    low = min(0.0, float(known.min(initial=0.0)))
    high = max(1.05, float(known.max(initial=0.0)) + 0.05)
    step = max(0.05, (high - low) / 400)  # one k̂ of a million would have as many bars
    bins = np.arange(np.floor(low / step) * step, high + step, step).round(6)
    count, _ = np.histogram(known, bins)
    bad = bins[:-1] >= threshold - 1e-9
    axes.bar(bins[:-1], count, width=step * 0.92, align="edge", color=[VERMILION if b else BLUE for b in bad])
    axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    beyond = float((values > threshold).mean()) if len(values) else 0.0
    axes.annotate(
        f"{beyond:.1%} beyond {threshold:g}",
        (threshold, 0.97),
        xycoords=("data", "axes fraction"),
        xytext=(5, 0),
        textcoords="offset points",
        va="top",
        color=VERMILION if beyond else MUTED,
        fontsize=8.5,
    )
    axes.set_title("Can the guide be trusted? Pareto k̂ per datum")
    axes.set_xlabel("k̂ of log p(x, z) − log q(z | x)", color=MUTED)
    axes.set_ylabel("data", color=MUTED)
    axes.margins(y=0.15)
    grid_lines(axes)
    return figure
