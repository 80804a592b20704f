"""The moving picture of the trick, `_run/trick.html`: draws ε, their z = μ + σ ε, and the way of the gradient.

An SVG that is moved by style sheets alone. Two numbers are animated, μ and σ; where a dot or a line stands is computed
from them by the browser, as z is. Whoever asks for less motion sees it still, and it can be held by a box below it.
"""

from math import exp
from pathlib import Path
from statistics import NormalDist
from typing import Any

from reference import keep
from sphinx.application import Sphinx

DRAWS = [NormalDist().inv_cdf((i + 0.5) / 9) for i in range(9)]
UNIT, ZERO = 34, 232  # pixels of one unit of z, and where 0 stands
LEFT, RIGHT = 92, 330  # the axes of ε and of z
MIDDLE = (
    LEFT + RIGHT
) // 2  # where the gradient leaves the lines: the noise has no use for it
SECONDS = 20

# From, to (per cent of a turn), μ, σ: what happens in each chapter of the picture.
PATH = [
    (0, 0, 1),
    (16, 0, 1),
    (24, 2, 1),
    (32, -0.6, 1),
    (38, 0, 1),
    (42, 0, 1),
    (50, 0, 1.7),
    (58, 0, 0.4),
    (64, 0, 1),
]
# Steps of gradient descent on the average of f, (μ − 2)² + σ²: by 2(μ − 2) and 2σ.
STEPS = [2 * (1 - 0.8**k) for k in range(13)]
PATH += [(68 + 2 * k, m, 0.8**k) for k, m in enumerate(STEPS)] + [(97, STEPS[-1], 0.8**12)]

CAPTIONS = [
    (0, 16, "ε is drawn from Normal(0, 1),", "which has no parameters to learn."),
    (16, 40, "μ moves, and every z moves as much:", "∂z/∂μ = 1"),
    (40, 66, "σ moves, and each z moves by its own ε:", "∂z/∂σ = ε"),
    (
        66,
        97,
        "The gradient of f goes back through z",
        "to μ and σ, which follow it downhill.",
    ),
]


def fade(name: str, start: float, end: float) -> str:
    """Key frames of what is seen from one time to another."""
    before = f"0%, {start}% {{ opacity: 0 }} {start + 1.5}%" if start else "0%"
    return f"@keyframes {name} {{ {before}, {end - 1}% {{ opacity: 1 }} {end}%, 100% {{ opacity: 0 }} }}"


def style() -> str:
    """Where things stand, given μ (`--m`) and σ (`--s`), and how these move."""
    frames = " ".join(f"{at:g}% {{ --m: {m:.3g}; --s: {s:.3g} }}" for at, m, s in PATH)
    z = "(var(--m) + var(--s) * var(--e))"
    moves = [fade(f"trick-{i}", *c[:2]) for i, c in enumerate(CAPTIONS)]
    shown = [f".trick .c{i} {{ animation-name: trick-{i} }}" for i in range(len(CAPTIONS))]
    return f"""\
@property --m {{ syntax: "<number>"; inherits: true; initial-value: 1 }}
@property --s {{ syntax: "<number>"; inherits: true; initial-value: 0.6 }}
.trick {{ max-width: 34rem; margin: 1rem auto; }}
.trick svg {{ --m: 1; --s: 0.6; width: 100%; height: auto; font: 15px var(--font-stack, sans-serif); }}
.trick text {{ fill: var(--color-foreground-primary, #000); text-anchor: middle; }}
.trick .axis, .trick .least {{ stroke: var(--color-foreground-muted, #777); }}
.trick .least {{ stroke-dasharray: 4 4; }}
.trick .small {{ font-size: 13px; fill: var(--color-foreground-secondary, #555); }}
.trick .bell {{ fill: #0072B2; fill-opacity: 0.15; stroke: none; }}
.trick .dot {{ fill: #0072B2; }}
.trick .z, .trick .line {{ fill: #E69F00; }}
.trick .line {{ fill: none; stroke: #E69F00; stroke-width: 1.3; opacity: 0.75; }}
.trick .back {{ fill: none; stroke: #D55E00; stroke-width: 2.5; stroke-dasharray: 3 7; stroke-linecap: round; }}
.trick .line.back {{ stroke: #D55E00; stroke-width: 2; opacity: 1; }}
.trick .knob {{ fill: #D55E00; }}
.trick .line {{ transform: matrix(1, calc(-{UNIT / (RIGHT - LEFT):.5f} * ({z} - var(--e))), 0, 1,
  {LEFT}, calc({ZERO} - {UNIT} * var(--e))); }}
.trick .z {{ transform: translate({RIGHT}px, calc(({ZERO} - {UNIT} * {z}) * 1px)); }}
.trick .of-z {{ transform: translate({RIGHT}px, calc(({ZERO} - {UNIT} * var(--m)) * 1px))
  scale(calc(0.55 / (var(--s) + 0.15)), var(--s)); }}
.trick .mu {{ transform: translateX(calc(30px * var(--m))); }}
.trick .sigma {{ transform: translateX(calc(60px * var(--s))); }}
.trick .moving {{ opacity: 0; }}
.trick label {{ font-size: 0.85rem; }}
@media (prefers-reduced-motion: reduce) {{ .trick label {{ display: none }} }}
@media (prefers-reduced-motion: no-preference) {{
  .trick svg {{ animation: trick-path {SECONDS}s ease-in-out infinite; }}
  .trick .moving {{ animation: {SECONDS}s linear infinite; }}
  .trick .still {{ display: none; }}
  .trick .flow {{ animation: trick-flow 1.2s linear infinite; }}
  .trick .gradient {{ animation-name: trick-{len(CAPTIONS) - 1}; }}
  {" ".join(shown)}
  .trick:has(:checked) * {{ animation-play-state: paused; }}
}}
@keyframes trick-path {{ {frames} 100% {{ --m: 0; --s: 1 }} }}
@keyframes trick-flow {{ to {{ stroke-dashoffset: -10 }} }}
{" ".join(moves)}"""


def bell() -> str:
    """Half of a picture of the density of Normal(0, 1), its axis upright, 60 pixels high."""
    points = [i / 8 for i in range(-26, 27)]
    return (
        "M0 "
        + f"{UNIT * 3.25:g}"
        + "".join(f"L{55 * exp(-v * v / 2):.1f} {-UNIT * v:.1f}" for v in points)
        + f"L0 {-UNIT * 3.25:g}Z"
    )


def captions() -> str:
    """What is said, two lines at a time."""
    still = (
        "z = μ + σ ε: when μ moves, every z moves as much;",
        "when σ moves, each moves by its own ε.",
    )
    told = [("still", *still), *((f"moving c{i}", *c[2:]) for i, c in enumerate(CAPTIONS))]
    return "".join(
        f'<g class="{kind}"><text x="240" y="20">{one}</text><text x="240" y="40">{two}</text></g>'
        for kind, one, two in told
    )


def picture() -> str:
    """The whole of it, to be put into a page."""
    here = [f'style="--e:{e:.3f}"' for e in DRAWS]
    lines = "".join(f'<path class="line" {e} d="M0 0H{RIGHT - LEFT}"/>' for e in here)
    noise = "".join(
        f'<circle class="dot" cx="{LEFT}" cy="{ZERO - UNIT * e:.1f}" r="4.5"/>'
        for e in DRAWS
    )
    draws = "".join(f'<circle class="z" {e} r="5"/>' for e in here)
    back = "".join(
        f'<path class="line back flow" {e} d="M{RIGHT - LEFT} 0H{MIDDLE - LEFT}"/>'
        for e in here
    )
    least = ZERO - 2 * UNIT
    return f"""\
<figure class="trick">
<style>
{style()}
</style>
<svg viewBox="0 0 480 400" role="img" xmlns="http://www.w3.org/2000/svg" aria-labelledby="trick-title trick-text">
<title id="trick-title">The reparameterization trick, moving</title>
<desc id="trick-text">Nine draws of ε stand on an axis at the left, and a line leads from each to its z = μ + σ ε on an
axis at the right. When μ grows, all z rise by as much. When σ grows, each moves away from μ in proportion to its ε. Then
the gradient of f(z) = (z − 2)² goes back to μ and σ, which descend: all z gather at 2.</desc>
{captions()}
<path class="bell" transform="translate({LEFT} {ZERO}) scale(-1 1)" d="{bell()}"/>
<path class="bell of-z" d="{bell()}"/>
<path class="axis" d="M{LEFT} 60V340M{RIGHT} 60V340"/>
<path class="least" d="M{RIGHT - 22} {least}H472"/>
<text class="small" x="428" y="{least - 26}">f(z) = (z − 2)²</text><text class="small" x="428" y="{least - 9}">is least at 2</text>
{lines}{noise}{draws}
<text x="{LEFT}" y="362">ε</text><text x="{RIGHT}" y="362">z = μ + σ ε</text>
<g class="moving gradient">{back}<path class="back flow" d="M{MIDDLE} 170V352C{MIDDLE} 372 184 372 150 377"/>
<path class="back flow" d="M{MIDDLE} 352C{MIDDLE} 372 290 366 322 377"/></g>
<text x="60" y="390">μ</text><path class="axis" d="M76 386h130"/><circle class="knob mu" cx="110" cy="386" r="6"/>
<text x="262" y="390">σ</text><path class="axis" d="M278 386h130"/><circle class="knob sigma" cx="284" cy="386" r="6"/>
</svg>
<label><input type="checkbox"> hold still</label>
</figure>
"""


def write(app: Sphinx) -> None:
    """Write it where the page includes it from."""
    keep(Path(app.srcdir) / "_run", {"trick": picture()}, "html")


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the picture before the pages are read."""
    app.connect("builder-inited", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
