"""One offline page on which a pair is explored: figures and widgets by Bokeh, decoding by the page itself."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np

from ppl_vae.errors import UsageError
from ppl_vae.plots.style import CLASSES, FAINT, INK, MUTED, ORANGE, VERMILION
from ppl_vae.reports.explorer.collect import LEVELS, Explored
from ppl_vae.reports.explorer.in_page import base64_of

if TYPE_CHECKING:
    from bokeh.model import Model

_HERE = Path(__file__).parent
_LOW, _MIDDLE, _HIGH = np.array([253, 231, 37]), np.array([33, 145, 140]), np.array([68, 1, 84])
"""Viridis at its ends and in its middle, dark where a value is large."""

# Styles of legends stand in them: what is around a figure of Bokeh does not reach into it.
_KEY = "display:inline-block;margin-right:0.9em"
_DOT = "display:inline-block;width:0.8em;height:0.8em;margin-right:0.3em;border-radius:50%;vertical-align:-0.05em"
_RAMP = "display:inline-block;width:9em;height:0.7em;vertical-align:-0.05em"

_SHADED = f"""@media (prefers-color-scheme: dark) {{
  :host {{ color: {INK}; color-scheme: light; filter: invert(0.92) hue-rotate(180deg) brightness(1.12); }}
}}"""
"""Bokeh draws dark on light: where dark is wanted, lightness is turned round and hues are kept."""
_CARD = "@media (prefers-color-scheme: dark) { :host { border-radius: 6px; overflow: hidden; } }"
"""Pictures of data stay as they are, on white."""

DRAWS = 6
"""Reconstructions from draws of q(z | x) of the datum that is looked at."""


def require_bokeh() -> None:
    """Refuse at once where it is not there.

    Raises:
        UsageError: with what to install.
    """
    if importlib.util.find_spec("bokeh") is None:
        raise UsageError("bokeh, which draws the explorer, is not installed: pip install 'ppl-vae[explore]'")


def explorer_page(found: Explored, title: str, facts: Mapping[str, str]) -> str:
    """The page.

    Args:
        found: what it shows.
        title: of the page.
        facts: what stands below the title, by name.

    Raises:
        UsageError: Bokeh is not installed.
    """
    require_bokeh()
    from bokeh.embed import json_item
    from bokeh.resources import Resources

    models = _models(found)
    for name, model in models.items():
        model.name = name  # by which the page's own code finds it
    figures = json_item(_layout(models), "figures")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_HERE), autoescape=True)
    return environment.get_template("explorer.html.j2").render(
        title=title,
        facts=dict(facts),
        found=found,
        css="".join((_HERE.parent / name).read_text(encoding="utf-8") for name in ("page.css", "dark.css")),
        own_css=(_HERE / "explorer.css").read_text(encoding="utf-8"),
        own_js=(_HERE / "explorer.js").read_text(encoding="utf-8"),
        bokeh=Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).render(),
        figures=_in_script(figures),
        data=_in_script(_data(found)),
    )


def _in_script(value: Any) -> str:
    """JSON that ends no script, whatever its texts are."""
    return json.dumps(value).replace("<", "\\u003c")


def _data(found: Explored) -> dict[str, Any]:
    """All that the page's own code reads: floats as float32, pixels as bytes."""
    bytes_of = (lambda a: np.round(255 * a)) if found.is_image else (lambda a: a)
    kind: Any = np.uint8 if found.is_image else np.float32
    return {
        "n": len(found.x),
        "units": found.loc.shape[1],
        "shown": found.units,
        "site": found.site,
        "shape": list(found.x.shape[1:]),
        "is_image": found.is_image,
        "range": list(found.range),
        "x": base64_of(bytes_of(found.x).astype(kind)),
        "loc": base64_of(found.loc),
        "scale": base64_of(found.scale),
        "rows": [str(row) for row in found.rows],
        "labels": [_label(found, i) for i in range(len(found.labels))],
        "numbers": {name: [_number(v) for v in values] for name, values in found.numbers.items()},
        "program": found.program,
        "levels": list(LEVELS),
        "rebuilt": None if found.rebuilt is None else base64_of(bytes_of(found.rebuilt).astype(kind)),
        "traversals": None if found.traversals is None else base64_of(bytes_of(found.traversals).astype(kind)),
        "quantiles": np.quantile(found.loc, LEVELS, axis=0).T.tolist(),
        "chains": {str(place): base64_of(values) for place, values in found.chains.items()},
        "draws": DRAWS,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _label(found: Explored, i: int) -> str:
    value = found.labels[i]
    names = found.class_names
    return str(names[int(value)]) if names and float(value).is_integer() and 0 <= value < len(names) else f"{value:g}"


def colours(found: Explored) -> dict[str, tuple[list[str], str]]:
    """By what the map may be coloured: a colour for each datum, and a legend."""
    made: dict[str, tuple[list[str], str]] = {}
    labels = [_label(found, i) for i in range(len(found.labels))]
    kinds = list(dict.fromkeys(sorted(labels, key=lambda t: (len(t), t))))
    if 0 < len(kinds) <= 20:
        of = {kind: CLASSES[i % len(CLASSES)] for i, kind in enumerate(kinds)}
        legend = " ".join(
            f'<span style="{_KEY}"><i style="{_DOT};background:{of[k]}"></i>{_escaped(k)}</span>' for k in kinds
        )
        made["class"] = [of[label] for label in labels], legend
    for name, values in found.numbers.items():
        finite = values[np.isfinite(values)]
        if not finite.size:
            continue
        low, high = np.quantile(finite, [0.02, 0.98])
        share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
        colour = [MUTED if not np.isfinite(s) else _between(s) for s in share]
        ends = f'<i style="{_RAMP};background:linear-gradient(90deg,{",".join(map(_between, (0, 0.5, 1)))})"></i>'
        made[name] = colour, f"{low:.4g} {ends} {high:.4g}" + (" nats" if name != "Pareto k̂" else "")
    if not made:
        made["none"] = [CLASSES[0]] * len(found.x), ""
    return made


def _between(share: float) -> str:
    one, other, part = (_LOW, _MIDDLE, 2 * share) if share < 0.5 else (_MIDDLE, _HIGH, 2 * share - 1)
    return "#" + "".join(f"{round(v):02x}" for v in one + part * (other - one))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# --- Bokeh's models, by name; `explorer.js` knows them by the same names
# --------------------------------------------------------------------------------------------------------------------


def _models(found: Explored) -> dict[str, Any]:
    from bokeh.models import (
        Button,
        ColumnDataSource,
        CustomJS,
        Div,
        HoverTool,
        LassoSelectTool,
        Select,
        Slider,
        TapTool,
    )
    from bokeh.plotting import figure

    tints = colours(found)
    first = next(iter(tints))
    names = [f"{found.site}[{k}]" for k in found.units]
    options = [*names, "component 1", "component 2"] if found.loc.shape[1] > 2 else names
    across, up = ("component 1", "component 2") if found.loc.shape[1] > 2 else (names[0], names[-1])
    components = _components(found.loc)
    columns: dict[str, Any] = {
        **{name: found.loc[:, unit] for name, unit in zip(names, found.units, strict=True)},
        **({"component 1": components[0], "component 2": components[1]} if found.loc.shape[1] > 2 else {}),
        **{f"colour by {name}": colour for name, (colour, _) in tints.items()},
        "row": [str(row) for row in found.rows],
        "label": [_label(found, i) for i in range(len(found.labels))] or [""] * len(found.x),
        **{name: [_number(v) for v in values] for name, values in found.numbers.items()},
    }
    points = ColumnDataSource(
        {**columns, "across": columns[across], "up": columns[up], "colour": columns[f"colour by {first}"]}
    )
    hover = [("datum", "@row"), *([("class", "@label")] if len(found.labels) else [])]
    hover += [(name, f"@{{{name}}}{{0.00}}") for name in found.numbers]
    plane = figure(
        height=470, sizing_mode="stretch_width", tools="pan,wheel_zoom,reset", active_scroll="wheel_zoom",
        toolbar_location="above", title=f"Means of q({found.site} | x)", x_axis_label=across, y_axis_label=up,
        background_fill_color=None, border_fill_color=None,
    )  # fmt: skip
    dots = plane.scatter("across", "up", source=points, color="colour", size=7, alpha=0.75, line_color=None)
    dots.nonselection_glyph.fill_alpha = 0.5
    plane.add_tools(
        HoverTool(tooltips=hover, renderers=[dots]), TapTool(renderers=[dots]), LassoSelectTool(renderers=[dots])
    )
    chain = ColumnDataSource({"across": [], "up": []})
    ellipse = ColumnDataSource({"across": [], "up": []})
    here = ColumnDataSource({"across": [], "up": []})
    plane.scatter("across", "up", source=chain, marker="x", size=6, color=INK, alpha=0.6)
    plane.line("across", "up", source=ellipse, color=VERMILION, line_width=2)
    plane.scatter("across", "up", source=here, marker="star", size=17, color=ORANGE, line_color=INK)

    def told(what: str) -> CustomJS:
        return CustomJS(code=f"window.explorer.{what}")

    points.selected.js_on_change("indices", told("selected(cb_obj.indices)"))
    made: dict[str, Any] = {"points": points, "plane": plane, "chain": chain, "ellipse": ellipse, "here": here}
    for key, title, options_, value in (
        ("across", "across", options, across), ("up", "up", options, up), ("tint", "colour", list(tints), first),
    ):  # fmt: skip
        made[key] = Select(title=title, options=options_, value=value, width=150)
        made[key].js_on_change("value", told("axes()"))
    made["legend"] = Div(text=tints[first][1])
    made["legends"] = Div(text=json.dumps({name: legend for name, (_, legend) in tints.items()}), visible=False)
    made["about"] = Div(text="", sizing_mode="stretch_width")
    for key, title in (("datum", "datum"), ("mean", "E[x | E z]"), ("made", "decoded")):
        made[key], made[f"{key}_source"] = _view(found, title)
    made["draws"], made["draws_source"] = _view(found, f"{DRAWS} draws of q(z | x), decoded", DRAWS)
    for place, unit in enumerate(found.units):
        low, high = np.quantile(found.loc[:, unit], [LEVELS[0], LEVELS[-1]])
        middle = float(np.median(found.loc[:, unit]))
        step = max(float(high - low) / 100, 1e-6)
        slider = Slider(start=float(low), end=float(high), value=middle, step=step, title=names[place], format="0.00")
        slider.sizing_mode = "stretch_width"
        slider.js_on_change("value", told(f"moved({place}, cb_obj.value)"))
        made[f"unit_{place}"] = slider
    made["noise"] = Slider(start=-3, end=3, value=0, step=0.05, title="t, of z = μ(x) + σ(x) · t ε", format="0.00")
    made["noise"].js_on_change("value", told("noise(cb_obj.value)"))
    made["way"] = Slider(start=0, end=1, value=0, step=0.01, title="from the datum to the other one", format="0.00")
    made["way"].js_on_change("value", told("between(cb_obj.value)"))
    for key in ("noise", "way"):
        made[key].sizing_mode = "stretch_width"
    for key, label, does in (
        ("another", "another ε", "another()"), ("other", "take this datum as the other one", "other()"),
        ("back", "back to the datum", "back()"),
    ):  # fmt: skip
        made[key] = Button(label=label)
        made[key].js_on_click(told(does))
    made["said"] = Div(text="", sizing_mode="stretch_width")
    for name, model in made.items():
        if isinstance(model, (Button, Select, Slider)) or name in ("plane", "legend"):
            model.stylesheets = [*model.stylesheets, _SHADED]
    return made


def _view(found: Explored, title: str, count: int = 1) -> tuple[Any, Any]:
    """A place for one picture, or for as many side by side; of a table, for its elements."""
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

    if found.is_image:
        _, height, width = found.x.shape[1:]
        source = ColumnDataSource({"image": [np.zeros((height, count * width), np.uint32)]})
        view = figure(
            height=170, width=min(900, max(150, round(140 * count * width / height))), tools="", toolbar_location=None,
            title=title, x_range=(0, count * width), y_range=(0, height),
            sizing_mode="fixed" if count == 1 else "scale_width",
        )  # fmt: skip
        view.styles = {"max-width": f"{view.width}px"}
        view.image_rgba("image", source=source, x=0, y=0, dw=count * width, dh=height)
        view.axis.visible, view.grid.visible, view.outline_line_color = False, False, FAINT
        view.stylesheets = [_CARD]
        return view, source
    size = found.x.shape[1]
    source = ColumnDataSource({"element": np.arange(size * count) % size, "value": np.zeros(size * count)})
    low, high = np.nanquantile(found.x, [0.005, 0.995])
    view = figure(
        height=200, width=300, tools="", toolbar_location=None, title=title, y_range=(float(low), float(high)),
        background_fill_color=None, border_fill_color=None,
    )  # fmt: skip
    view.stylesheets = [_SHADED]
    view.vbar(x="element", top="value", source=source, width=0.8, alpha=1 / count**0.5, color=CLASSES[0])
    if 0 < len(found.element_names) == size <= 12:
        view.xaxis.ticker = list(range(size))
        view.xaxis.major_label_overrides = dict(enumerate(map(str, found.element_names)))
        view.xaxis.major_label_orientation = 0.9
    return view, source


def _components(loc: Any) -> tuple[Any, Any]:
    """The first two principal components of the means."""
    centred = loc - loc.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    projected = centred @ axes[:2].T
    return projected[:, 0], projected[:, -1]


def _layout(models: Mapping[str, Any]) -> Model:
    from bokeh.layouts import column, row

    sliders: Sequence[Any] = [m for name, m in models.items() if name.startswith("unit_")]
    choose = row(models["across"], models["up"], models["tint"], styles={"flex-wrap": "wrap"})
    left = column(choose, models["plane"], models["legend"], models["legends"], sizing_mode="stretch_width")
    pictures = row(models["datum"], models["mean"], spacing=10)
    right = column(models["about"], pictures, models["draws"], spacing=6, sizing_mode="stretch_width")
    moving = column(*sliders, sizing_mode="stretch_width")
    ways = column(
        row(models["made"]), models["said"], models["back"], models["noise"], models["another"], models["way"],
        models["other"], sizing_mode="stretch_width",
    )  # fmt: skip
    for part in (left, right, moving, ways):
        part.styles = {"flex": "1 1 340px", "min-width": "0"}
    made: Model = column(
        row(left, right, sizing_mode="stretch_width", styles={"flex-wrap": "wrap"}),
        row(moving, ways, sizing_mode="stretch_width", styles={"flex-wrap": "wrap"}),
        sizing_mode="stretch_width",
    )
    return made
