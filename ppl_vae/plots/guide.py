"""The structure of a derived guide: its latents, what each of them sees, and the plates around them."""

from collections.abc import Iterator
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ppl_vae.errors import PplVaeError
from ppl_vae.guides.derived import Derived
from ppl_vae.guides.site import Site
from ppl_vae.plots.style import BLUE, FAINT, INK, MUTED, new_figure, styled

WIDTH, HEIGHT, STEP = 1.7, 0.62, (2.1, 1.0)
"""Size of a box, and how far the next one lies to the right and below."""


@styled
def derived_guide(guide: Derived) -> Figure:
    """Draw a derived guide: boxes from left to right in the order of draws, and below each box who sees it.

    A dot joins what is above it to what is on its right, which sees it. The shaded box is the batch. A box without a
    line on its left sees nothing: its parameters are the same for all data.

    Args:
        guide: a derived one that has seen a batch.

    Raises:
        PplVaeError: it has not seen a batch.
    """
    proto = guide.prototype
    if proto is None:
        raise PplVaeError("a derived guide has no sites before it has seen a batch. Call pv.prepare(vae, batch) first.")
    boxes: list[Site | None] = list(proto.sites)  # None for the batch
    if any(site.is_local for site in proto.sites):
        boxes.insert(next(i for i, site in enumerate(proto.sites) if site.is_local), None)
    count = max(len(boxes), 1)
    figure = new_figure(0.4 + 0.78 * STEP[0] * count / 1.6, 0.5 + 0.78 * STEP[1] * count / 1.6)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-1.45, STEP[0] * (count - 1) + 1.45)
    axes.set_ylim(-STEP[1] * (count - 1) - 0.95, 0.75)
    for margin, label, first, last in _plates(boxes, proto.data_plate):
        _plate(axes, margin, label, first, last)
    for column, row in _sights(guide, boxes):
        x, y = STEP[0] * column, -STEP[1] * row
        colour = MUTED if boxes[column] is None else BLUE
        axes.plot([x, x], [-STEP[1] * column, y], color=colour, lw=0.9, zorder=2)
        axes.plot([x, STEP[0] * row], [y, y], color=MUTED, lw=0.9, zorder=1.5)
        axes.plot(x, y, "o", color=colour, ms=4, zorder=3)
    for i, site in enumerate(boxes):
        name, law = "batch", ""
        if site is not None:
            family: Any = getattr(guide.heads[site.key], "family", None) if site.key in guide.heads else site.family
            shape = site.family.event_shape
            name, law = site.name, family.label + (f" {shape}" if shape else "")
        _box(axes, i, name, law, shaded=site is None)
    return figure


def _sights(guide: Derived, boxes: list[Site | None]) -> Iterator[tuple[int, int]]:
    """Pairs of boxes of which the second sees the first."""
    for row, site in enumerate(boxes):
        if site is None or not site.is_local or site.key not in guide.heads:
            continue
        head: Any = guide.heads[site.key]
        for column, other in enumerate(boxes[:row]):
            if other is None or (guide.condition and (other.is_local or head.kept is None)):
                yield column, row


def _plates(boxes: list[Site | None], data_plate: str | None) -> Iterator[tuple[float, str, int, int]]:
    """Margin, label, first and last box of each run of boxes in one plate; the outer ones have the wider margin."""

    def around(site: Site | None) -> dict[str, str]:
        found = {} if site is None else {name: f"{name}: {size}" for name, size in site.plates.items()}
        here = site is None or site.is_local
        return ({str(data_plate): str(data_plate)} if here else {}) | found

    every = [around(site) for site in boxes]
    plates = dict.fromkeys(name for found in every for name in found)
    others = [name for name in plates if name != data_plate]
    for plate in plates:
        margin = 0.2 if plate == data_plate else max(0.03, 0.11 - 0.04 * others.index(plate))
        start = None
        for i, found in enumerate([*every, {}]):
            if plate in found and start is None:
                start = i
            elif plate not in found and start is not None:
                yield margin, every[start][plate], start, i - 1
                start = None


def _box(axes: Axes, place: int, name: str, law: str, shaded: bool) -> None:
    x, y = STEP[0] * place, -STEP[1] * place
    style = f"round,pad=0,rounding_size={HEIGHT / 2}"
    colour = FAINT if shaded else "white"
    box = FancyBboxPatch((x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, style, fc=colour, ec=INK, lw=1.1, zorder=4)
    axes.add_patch(box)
    shown = name if len(name) <= 16 else name[:15] + "…"
    options: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 5, "parse_math": False}
    axes.text(x, y + (0.12 if law else 0), shown, weight="bold", fontsize=8, **options)
    axes.text(x, y - 0.15, law, color=MUTED, fontsize=6.5, **options)


def _plate(axes: Axes, margin: float, label: str, first: int, last: int) -> None:
    """A rectangle around a run of boxes, with its name in the upper corner on the right."""
    low_x, high_x = STEP[0] * first - WIDTH / 2 - margin, STEP[0] * last + WIDTH / 2 + margin
    low_y, high_y = -STEP[1] * last - HEIGHT / 2 - margin, -STEP[1] * first + HEIGHT / 2 + margin
    style = "round,pad=0,rounding_size=0.08"
    box = FancyBboxPatch((low_x, low_y), high_x - low_x, high_y - low_y, style, fc="none", ec=MUTED, lw=0.8, zorder=1)
    axes.add_patch(box)
    options: dict[str, Any] = {"fontsize": 6.5, "color": MUTED, "parse_math": False}
    if last > first:
        axes.text(high_x - 0.08, high_y - 0.06, label, ha="right", va="top", **options)
    else:
        axes.text(high_x + 0.06, high_y, label, ha="left", va="top", **options)
