"""Pictures inside a page: as PNG in its text, together within what a page may weigh."""

import base64
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from matplotlib.figure import Figure

from ppl_vae.plots.style import render

DPI = 150
SAVED_DPI = 160  # of a figure that a verb has saved
MOST = 620_000
"""Bytes of all pictures of a page: in base64 they take a third more, and the page stays below a megabyte."""

_WIDEST = 1_600  # pixels; a page shows at most 960


def embedded(figures: Mapping[str, Figure | bytes], most: int = MOST) -> dict[str, dict[str, Any]]:
    """Pictures by name, each with its data and the width at which it is shown.

    What is too much is made smaller, the largest first: with 256 colours, then with fewer pixels; what cannot be made
    smaller, such as a file that is no picture, is left out.

    Args:
        figures: figures, or PNG.
        most: bytes in all.
    """
    data = {name: made if isinstance(made, bytes) else render(made, dpi=DPI) for name, made in figures.items()}
    densities = {name: DPI if isinstance(made, Figure) else SAVED_DPI for name, made in figures.items()}
    widths = {name: _width(png) * 100 / densities[name] for name, png in data.items()}
    steps = dict.fromkeys(data, 0)
    while sum(map(len, data.values())) > most:
        name = max(data, key=lambda n: len(data[n]))
        before = len(data[name])
        try:
            data[name] = min(_smaller(data[name], shrink=steps[name] > 0), data[name], key=len)
        except Exception:  # whatever a file may be that stands in the place of a picture
            del data[name]
            continue
        if steps[name] and len(data[name]) == before:
            del data[name]
        steps[name] += 1
    return {
        name: {"data": base64.b64encode(png).decode("ascii"), "width": round(min(widths[name], _WIDEST))}
        for name, png in data.items()
    }


def _width(png: bytes) -> int:
    """A PNG says its width in its first chunk."""
    return int.from_bytes(png[16:20], "big")


def _smaller(png: bytes, *, shrink: bool) -> bytes:
    from PIL import Image

    with Image.open(BytesIO(png), formats=["PNG"]) as image:
        made = image.convert("RGB")
    if shrink:
        made = made.resize((max(made.width * 3 // 4, 1), max(made.height * 3 // 4, 1)))
    buffer = BytesIO()
    made.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
