"""The pictures of the pages: data in, a labelled figure out. What is computed stands in the pages themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = "#2b6cb0", "#dd6b20", "#2f855a", "#c53030", "#a0aec0"
COLORS = [BLUE, ORANGE, GREEN, RED, "#6b46c1", "#4a5568"]

plt.rcParams.update(
    {
        "axes.prop_cycle": plt.cycler(color=COLORS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 10,
        "axes.labelsize": 9,
        "font.size": 9,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
    }
)


def describe(figure: Figure, text: str) -> None:
    """Say what the picture shows: its description for those who cannot see it."""
    figure.set_label(text)


def densities(
    curves: Mapping[str, Any], x: Any, *, title: str = "", xlabel: str = "z"
) -> None:
    """One density per label."""
    figure, axis = plt.subplots(figsize=(6.4, 2.6))
    for label, density in curves.items():
        (line,) = axis.plot(x, density, label=label)
        axis.fill_between(x, density, alpha=0.08, color=line.get_color())
    axis.set(xlabel=xlabel, ylabel="density", ylim=(0, None), title=title)
    axis.legend()
    describe(figure, f"Densities of {', '.join(curves)}")


def transport(noise: Any, moved: Mapping[str, Any]) -> None:
    """The same draws of the noise, and where each z = g(noise) takes them."""
    figure, axes = plt.subplots(1, len(moved), figsize=(6.4, 2.6), sharey=True)
    ranks = plt.get_cmap("viridis")(np.linspace(0, 1, len(noise)))
    order = np.argsort(noise)
    for axis, (label, z) in zip(axes, moved.items(), strict=True):
        for rank, i in enumerate(order):
            axis.plot([0, 1], [noise[i], z[i]], color=ranks[rank], linewidth=0.8, alpha=0.8)
            axis.scatter([0, 1], [noise[i], z[i]], color=ranks[rank], s=8, zorder=3)
        axis.set(xticks=[0, 1], xticklabels=["ε", "z"], title=label)
    axes[0].set_ylabel("value")
    describe(
        figure,
        "Lines from each draw of the noise to its z: the same noise gives other z under other parameters",
    )


def estimates(samples: Mapping[str, Any], exact: float, *, xlabel: str) -> None:
    """Histograms of single-draw gradients, with the exact gradient as a line."""
    figure, axis = plt.subplots(figsize=(6.4, 2.6))
    spread = 4 * max(float(np.std(s)) for s in samples.values())
    bins = np.linspace(exact - spread, exact + spread, 121)
    for label, sample in samples.items():
        axis.hist(np.asarray(sample), bins=bins, density=True, alpha=0.6, label=label)
    axis.axvline(exact, color="black", linewidth=1, linestyle="--", label="exact gradient")
    axis.set(xlabel=xlabel, ylabel="density", yscale="log")
    axis.legend()
    describe(
        figure,
        f"Histograms of gradient estimates by {' and '.join(samples)} around the exact value",
    )


def lines(
    x: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    log: str = "",
    title: str = "",
) -> None:
    """A line per label; `log` names the axes that are logarithmic."""
    figure, axis = plt.subplots(figsize=(6.4, 2.6))
    for label, y in curves.items():
        axis.plot(x, y, marker="o", markersize=3, label=label)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if "x" in log:
        axis.set_xscale("log")
    if "y" in log:
        axis.set_yscale("log")
    axis.legend()
    describe(figure, f"{ylabel} against {xlabel} for {', '.join(curves)}")


def rows_of_images(rows: Mapping[str, Any], *, title: str = "") -> None:
    """A row of grey pictures per label, `(n, height, width)` each."""
    height = 0.62 * len(rows) + (0.3 if title else 0)
    figure, axes = plt.subplots(
        len(rows), 1, figsize=(6.4, height), gridspec_kw={"hspace": 0.05}, squeeze=False
    )
    for axis, (label, images) in zip(axes[:, 0], rows.items(), strict=True):
        images = np.asarray(images)
        gap = np.full((images.shape[1], 1), np.nan)
        strip = np.hstack([part for image in images for part in (image, gap)][:-1])
        axis.imshow(strip, cmap="Greys", vmin=0, vmax=1)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
    if title:
        figure.suptitle(title)
    describe(figure, f"Rows of pictures: {', '.join(rows)}")


def plane(
    panels: Mapping[str, tuple[Any, Any, Any]], *, names: Sequence[str] | None = None
) -> None:
    """Codes of data in the plane, coloured by class; where there is a scale, an ellipse for it."""
    figure, axes = plt.subplots(1, len(panels), figsize=(6.4, 3.1), squeeze=False)
    color = plt.get_cmap("tab10")
    for axis, (title, (mean, scale, labels)) in zip(axes[0], panels.items(), strict=True):
        mean, labels = np.asarray(mean), np.asarray(labels)
        if scale is None:
            axis.scatter(*mean.T, c=color(labels), s=7)
        else:
            from matplotlib.collections import EllipseCollection

            size = 2 * np.asarray(scale)
            axis.add_collection(
                EllipseCollection(
                    *size.T,
                    np.zeros(len(size)),
                    units="xy",
                    offsets=mean,
                    transOffset=axis.transData,
                    facecolors=color(labels, alpha=0.45),
                )
            )
        reach = 1.1 * np.quantile(np.abs(mean - np.median(mean, 0)), 0.995)
        center = np.median(mean, 0)
        axis.set(title=title, xlabel="z₁", ylabel="z₂", aspect="equal")
        axis.set_xlim(center[0] - reach, center[0] + reach)
        axis.set_ylim(center[1] - reach, center[1] + reach)
    classes = sorted(set(labels.tolist()))
    handles = [
        plt.Line2D([], [], marker="o", linestyle="", color=color(c), markersize=4)
        for c in classes
    ]
    figure.legend(
        handles,
        names or [str(c) for c in classes],
        loc="outside right center",
        handletextpad=0.1,
    )
    describe(figure, f"Latent codes by class: {' and '.join(panels)}")


def simplex(panels: Mapping[str, Any]) -> None:
    """Points `(n, 3)` of the simplex, drawn as a triangle."""
    figure, axes = plt.subplots(1, len(panels), figsize=(6.4, 2.1))
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        axis.plot(*np.vstack([corners, corners[:1]]).T, color=GREY, linewidth=0.8)
        axis.scatter(*(np.asarray(points) @ corners).T, s=3, alpha=0.5)
        axis.set(title=title, aspect="equal")
        axis.axis("off")
    describe(figure, f"Draws on the simplex: {', '.join(panels)}")


def band(x: Any, draws: Any, data: tuple[Any, Any]) -> None:
    """Functions drawn from a posterior, `(draws, points)`: some of them, and the range of the middle 90 %."""
    figure, axis = plt.subplots(figsize=(6.4, 2.8))
    draws = np.asarray(draws)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    axis.fill_between(
        x, low, high, color=BLUE, alpha=0.15, linewidth=0, label="90 % of the draws"
    )
    axis.plot(x, draws[:8].T, color=BLUE, alpha=0.35, linewidth=0.7)
    axis.plot(x, draws.mean(0), color=BLUE, linewidth=1.8, label="mean")
    axis.scatter(*data, s=8, color="black", zorder=3, label="data")
    axis.set(xlabel="input", ylabel="output")
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    describe(
        figure,
        "A regression whose draws agree where there are data, and fan out where there are none",
    )
