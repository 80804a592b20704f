"""Drawings of a page as inline SVG: lines and bars in the page's own colours, light and dark, with values to read."""

import json
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import Any

from ppl_vae.reports.tables import text

WIDTH, HEIGHT = 400, 260
LEFT, RIGHT, TOP, BOTTOM = 68, 12, 14, 44
POINTS = 150
"""Points of a line that are drawn at most."""

_NAMED = 16  # lines whose names stand beside a drawing
_LARGEST = 1e300  # beyond it lies no number whose distance to another one is surely finite


@dataclass(frozen=True)
class Line:
    """A curve of a drawing.

    Attributes:
        label: its name.
        points: x and y, those of one line in the order of x.
        colour: number of a colour of the page, 1 to 8.
        dashed: it is drawn so.
    """

    label: str
    points: Sequence[tuple[float, float]]
    colour: int = 1
    dashed: bool = False


@dataclass(frozen=True)
class Bar:
    """A bar from 0 to `height`, between two places of x; `label` says what is read there."""

    left: float
    right: float
    height: float
    label: str
    colour: int = 1


@dataclass(frozen=True)
class Chart:
    """A drawing with its axes.

    Attributes:
        title: above it.
        x_name: of the horizontal axis.
        y_name: of the vertical axis.
        lines: curves.
        bars: bars.
        band: x, low and high of a shaded band.
        rules: places of x with a dashed upright line, and what they mean.
        points: places that are marked with a dot, with their label.
        marks: places of x with a word in place of numbers.
        limits: of y; by default those of what is drawn.
        alt: what is seen, in words.
        keyed: lines are named beside the drawing, where they are few; else where they are read.
    """

    title: str
    x_name: str
    y_name: str
    alt: str
    lines: Sequence[Line] = ()
    bars: Sequence[Bar] = ()
    band: Sequence[tuple[float, float, float]] = ()
    rules: Sequence[tuple[float, str]] = ()
    points: Sequence[tuple[float, float, str]] = ()
    marks: Sequence[tuple[float, str]] = ()
    limits: tuple[float, float] | None = None
    keyed: bool = True
    legend: list[tuple[str, int, bool]] = field(init=False)

    def __post_init__(self) -> None:
        named = dict.fromkeys((line.label, line.colour, line.dashed) for line in self.lines if line.label)
        object.__setattr__(self, "legend", list(named)[:_NAMED] if self.keyed and len(named) > 1 else [])

    @cached_property
    def readings(self) -> list[tuple[float, list[str]]]:
        """The texts that are read at each place of x: its value, then that of each line or bar."""
        if self.bars:
            return [((bar.left + bar.right) / 2, [bar.label]) for bar in self.bars]
        at: dict[float, list[str]] = {}
        for line in self.lines:
            for x, y in _thinned(line.points):
                at.setdefault(x, []).append(f"{line.label} {text(float(y))}")
        return [(x, [f"{self.x_name} {number(x)}", *told]) for x, told in sorted(at.items())]

    @cached_property
    def svg(self) -> str:
        """The drawing; all text in it is escaped."""
        width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        (x0, x1), (y0, y1) = self._extent()

        def across(x: float) -> float:
            return round((x - x0) / (x1 - x0) * width, 2)

        def up(y: float) -> float:
            return round((y1 - y) / (y1 - y0) * height, 2)

        drawn = []
        if self.band:
            upper = [f"{across(x)},{up(high)}" for x, _, high in self.band]
            lower = [f"{across(x)},{up(low)}" for x, low, _ in reversed(self.band)]
            drawn.append(f'<polygon class="band" points="{" ".join(upper + lower)}"/>')
        for bar in self.bars:
            top, foot = up(max(bar.height, 0.0)), up(min(bar.height, 0.0))
            a, b = across(bar.left), across(bar.right)
            size = f'x="{a}" y="{top}" width="{max(b - a, 0.5):.2f}" height="{max(foot - top, 0):.2f}"'
            drawn.append(f'<rect class="k{bar.colour}" {size}/>')
        for place, word in self.rules:
            drawn.append(f'<line class="rule" x1="{across(place)}" x2="{across(place)}" y1="0" y2="{height}"/>')
            side = 'text-anchor="end" x="{:.1f}"' if place > (x0 + x1) / 2 else 'x="{:.1f}"'
            beside = side.format(across(place) + (-5 if place > (x0 + x1) / 2 else 5))
            drawn.append(f'<text {beside} y="10">{escape(word)}</text>')
        for line in self.lines:
            there = " ".join(f"{across(x)},{up(y)}" for x, y in _thinned(line.points))
            style = f'class="l{line.colour}{" dashed" if line.dashed else ""}"'
            if len(line.points) == 1:
                x, y = line.points[0]
                drawn.append(f'<circle class="k{line.colour}" cx="{across(x)}" cy="{up(y)}" r="3"/>')
            else:
                drawn.append(f'<polyline {style} points="{there}"/>')
        for x, y, word in self.points:
            drawn.append(
                f'<circle class="dot" cx="{across(x)}" cy="{up(y)}" r="4"><title>{escape(word)}</title></circle>'
            )
        axes = []
        for y, told in _ticks(y0, y1, 5):
            place = TOP + up(y)
            axes.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place}" y2="{place}"/>')
            axes.append(f'<text x="{LEFT - 6}" y="{place + 4}" text-anchor="end">{told}</text>')
        whole = all(x == round(x) for line in self.lines for x, _ in line.points) and not self.bars
        for x, told in self.marks or _ticks(x0, x1, 6, whole=whole):
            axes.append(
                f'<text x="{LEFT + across(x)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{escape(told)}</text>'
            )
        floor = HEIGHT - BOTTOM
        axes.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>')
        axes.append(f'<text x="{LEFT + width / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(self.x_name)}</text>')
        turned = f"translate(13 {TOP + height / 2}) rotate(-90)"
        axes.append(f'<text transform="{turned}" text-anchor="middle">{escape(self.y_name)}</text>')
        readings = [[LEFT + across(x), "; ".join(told)] for x, told in self.readings if x0 <= x <= x1]
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" aria-label="{escape(self.alt)}" '
            f'data-read="{escape(json.dumps(readings, ensure_ascii=False))}">{"".join(axes)}'
            f'<svg x="{LEFT}" y="{TOP}" width="{width}" height="{height}" overflow="hidden">{"".join(drawn)}</svg>'
            f'<line class="cursor" y1="{TOP}" y2="{floor}" visibility="hidden"/></svg>'
        )

    def _extent(self) -> tuple[tuple[float, float], tuple[float, float]]:
        xs = [x for line in self.lines for x, _ in line.points] + [x for x, _, _ in self.band]
        xs += [x for bar in self.bars for x in (bar.left, bar.right)] + [x for x, _ in self.rules]
        ys = [y for line in self.lines for _, y in line.points] + [bar.height for bar in self.bars]
        ys += [y for _, low, high in self.band for y in (low, high)] + [0.0] * bool(self.bars)
        low, high = self.limits or _padded(ys, 0.06, floor=min(ys, default=0.0) if self.bars else None)
        return _padded(xs, 0.0), (low, high)


def number(value: float) -> str:
    """A number of an axis.

    >>> number(-0.25), number(1200.0), number(0.00001)
    ('−0.25', '1,200', '1e-05')
    """
    if value == round(value) and abs(value) < 1e6:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−", 1) if abs(value) >= 1e-3 else f"{value:.3g}"


def _padded(values: Sequence[float], share: float, floor: float | None = None) -> tuple[float, float]:
    """Limits around values, of some width whatever these are."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-280):
        low, high = low - max(abs(low), 1.0) * 0.5, high + max(abs(high), 1.0) * 0.5
    span = high - low
    return (low - share * span if floor is None or floor < 0 else floor), high + share * span


def _ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[tuple[float, str]]:
    """Round places between two limits; `whole`: whole numbers alone."""
    raw = max((high - low) / count, float(whole))
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    places = [i * step for i in range(first, first + count + 2) if i * step <= high + step * 1e-9]
    return [(place, number(float(f"{place:.10g}"))) for place in places]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `POINTS` of them, the last among them."""
    step = max(1, math.ceil(len(points) / POINTS))
    kept = list(points[::step])
    return kept if not points or kept[-1] == points[-1] else [*kept, points[-1]]


def finite(pairs: Sequence[tuple[Any, Any]]) -> list[tuple[float, float]]:
    """Those pairs of numbers that can be drawn."""
    found = []
    for x, y in pairs:
        if all(issubclass(type(v), numbers.Real) and abs(v) < _LARGEST for v in (x, y)):  # ints of any length
            found.append((float(x), float(y)))
    return found
