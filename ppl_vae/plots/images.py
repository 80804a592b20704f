"""Pictures of images: samples, reconstructions, traversals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ppl_vae.errors import ArgumentError
from ppl_vae.plots.style import FAINT, INK, MUTED, new_figure, picture, styled


def tile(images: NDArray[Any], columns: int, gap: int = 1) -> NDArray[np.float64]:
    """Lay `(n, C, H, W)` images on one sheet `(C, rows · (H + gap) + gap, columns · (W + gap) + gap)`.

    What lies between images is NaN, and what follows the last one in its row infinite. One sheet draws a hundred times
    faster than one axes per image.

    >>> tile(np.zeros((3, 1, 8, 8)), columns=2).shape
    (1, 19, 19)
    """
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    sheet = np.full((channels, rows * (height + gap) + gap, columns * (width + gap) + gap), np.nan)
    for i, image in enumerate(images):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    if n % columns:
        sheet[:, gap + (rows - 1) * (height + gap) :, gap + n % columns * (width + gap) :] = np.inf
    return sheet


def _show(axes: Any, sheet: NDArray[Any]) -> None:
    """Show a sheet with its lines as one image of bytes: an image of numbers and one of lines take thrice as long.

    It has a channel of opacity, since matplotlib adds one of eight bytes a pixel, which makes the others as large.
    """
    white = 1.0 if sheet.shape[0] == 3 else 0.0
    image, keywords = picture(np.nan_to_num(sheet, nan=white, posinf=white))
    shown = np.full((*image.shape[:2], 4), 255, np.uint8)
    shown[..., :3] = keywords["cmap"](image, bytes=True)[..., :3] if image.ndim == 2 else 255 * image
    shown[np.isnan(sheet[0]), :3] = [int(FAINT[i : i + 2], 16) for i in (1, 3, 5)]
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.imshow(shown, interpolation="nearest")


def _images(given: Any, name: str = "images", axes: str = "(n, C, H, W)") -> NDArray[np.float64]:
    """Images of one to three channels (two are averaged), at least one; another shape is refused."""
    given = given.detach().cpu() if isinstance(given, Tensor) else given
    images = np.asarray(given, dtype=np.float64)
    if images.ndim != axes.count(",") + 1 or images.shape[-3] not in (1, 2, 3) or not images.size:
        raise ArgumentError(
            f"Got {name} of shape {images.shape}, expected {axes} with C = 1 for ink on paper or 3 for colours, and "
            "one image at least. Images without channels have them by x[:, None]; of channels last, move the axis."
        )
    return images


def _gap(images: NDArray[Any]) -> int:
    return max(1, round(images.shape[-1] / 28))


@styled
def image_grid(images: ArrayLike, columns: int | None = None, title: str = "") -> Figure:
    """Draw images on a grid, as square as it gets.

    Args:
        images: `(n, C, H, W)` in [0, 1]; C is 1 for ink on paper, 3 for colours.
        columns: images in a row.
        title: what they are.

    Raises:
        ArgumentError: images of another shape, or none.

    >>> image_grid(np.zeros((6, 1, 8, 8)), title="Means of p(x | z)").axes[0].get_title(loc="left")
    'Means of p(x | z)'
    """
    images = _images(images)
    columns = columns or int(np.ceil(np.sqrt(len(images) * 2.2)))
    sheet = tile(images, columns, _gap(images))
    width = 8.8
    figure = new_figure(width, width * sheet.shape[1] / sheet.shape[2] + 0.35)
    axes = figure.subplots()
    _show(axes, sheet)
    axes.set_title(title)
    return figure


@styled
def image_rows(rows: Mapping[str, Any], columns: int = 12, title: str = "") -> Figure:
    """Draw several images of each datum below one another, in named rows.

    Args:
        rows: by name, images `(n, C, H, W)` in [0, 1], of the same data in the same order.
        columns: data beside one another; more follow below.
        title: what they are.

    Raises:
        ArgumentError: rows of different lengths or sizes, images of another shape, or none.

    >>> x = np.zeros((3, 1, 8, 8))
    >>> figure = image_rows({"x": x, "E[x | z]": x})
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['x', 'E[x | z]']
    """
    if not rows:
        raise ArgumentError("Got no rows, expected images by name: {'x': x}.")
    given = {name: _images(images, name) for name, images in rows.items()}
    shapes = {images.shape[2:] for images in given.values()}
    if len({len(images) for images in given.values()}) > 1 or len(shapes) > 1:
        told = ", ".join(f"{name} {images.shape}" for name, images in given.items())
        raise ArgumentError(f"Got rows of {told}, expected as many images of one size in each: those of the same data.")
    count = len(next(iter(given.values())))
    columns = max(1, min(columns, count))
    channels = max(images.shape[1] for images in given.values())
    bands = -(-count // columns)
    sheets = []
    for band in range(bands):
        part = slice(band * columns, (band + 1) * columns)
        padded = [_pad(np.repeat(i, channels // i.shape[1], 1)[part], columns) for i in given.values()]
        gap, beside = _gap(padded[0]), min(columns, count - band * columns)
        sheets.append(tile(np.concatenate(padded), columns, gap))
        sheets[-1][:, :, gap + beside * (padded[0].shape[-1] + gap) :] = np.inf
    width = min(8.8, 0.9 * columns + 1.2)
    ratio = sheets[0].shape[1] / sheets[0].shape[2]
    figure = new_figure(width, bands * ((width - 0.8) * ratio + 0.12) + 0.35)
    figure.set_label(title or f"Images in rows: {', '.join(given)}")
    for band, (axes, sheet) in enumerate(zip(figure.subplots(bands, 1, squeeze=False)[:, 0], sheets, strict=True)):
        _show(axes, sheet)
        height = sheet.shape[1] / len(given)
        places = [height * (i + 0.5) for i in range(len(given))]
        axes.set_yticks(places, list(given), color=MUTED, fontsize=8)
        axes.tick_params(length=0)
        if band == 0:
            axes.set_title(title)
    return figure


def reconstructions(
    data: ArrayLike, reconstructed: ArrayLike, source: ArrayLike | None = None, columns: int = 12
) -> Figure:
    """Draw data, each above the mean of p(x | z) for z ~ q(z | x).

    Args:
        data: x as the model sees it, `(n, C, H, W)` in [0, 1].
        reconstructed: of each datum.
        source: what x was made from, where that is something else: grey images that are binarized.
        columns: data beside one another.

    >>> x = np.zeros((3, 1, 8, 8))
    >>> [label.get_text() for label in reconstructions(x, x, x).axes[0].get_yticklabels()]
    ['source', 'datum x', 'mean of p(x | z)']
    """
    rows = {} if source is None else {"source": source}
    rows |= {"datum x": data, "mean of p(x | z)": reconstructed}
    return image_rows(rows, columns, "Data and their reconstructions")


def _pad(images: NDArray[Any], count: int) -> NDArray[Any]:
    missing = np.full((count - len(images), *images.shape[1:]), np.nan)
    return np.concatenate([images, missing])


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.1f}".replace("-", "−") if abs(value) >= 0.05 else "0"


@styled
def traversals(
    images: ArrayLike,
    values: Sequence[float] | Sequence[str] | ArrayLike,
    names: Sequence[str],
    note: str = "",
    axis: str = "value of the unit",
    rows: str = "unit",
) -> Figure:
    """Draw what one latent unit after the other does to the mean image.

    Args:
        images: `(units, steps, C, H, W)` in [0, 1].
        values: the values that a unit takes, `(steps,)`, or what to call them.
        names: a name per unit.
        note: what the other units are held at.
        axis: what the values are.
        rows: what the names are of.

    >>> figure = traversals(np.zeros((2, 3, 1, 8, 8)), [-1.0, 0.0, 1.0], ["z[0]", "z[1]"])
    >>> figure.axes[0].get_xlabel()
    'value of the unit'
    """
    images, told = _images(images, axes="(units, steps, C, H, W)"), np.asarray(values).tolist()
    units, steps = images.shape[:2]
    if len(told) != steps or len(names) != units:
        raise ArgumentError(
            f"Got {len(told)} values and {len(names)} names for {units} units of {steps} steps, expected a value "
            "a step and a name a unit."
        )
    gap = _gap(images)
    sheet = tile(images.reshape(-1, *images.shape[2:]), steps, gap)
    width = min(8.8, 0.72 * steps + 1.0)
    # what stands at the axes has its own width, however few the steps
    figure = new_figure(max(width, 4.8), (width - 0.6) * sheet.shape[1] / sheet.shape[2] + 0.8)
    axes = figure.subplots()
    _show(axes, sheet)
    pitch_y, pitch_x = images.shape[3] + gap, images.shape[4] + gap
    axes.set_yticks([gap + pitch_y * (i + 0.5) - 1 for i in range(units)], list(names), color=INK, fontsize=8)
    every = max(1, steps // 7)
    shown = sorted({*range(steps // 2, steps, every), *range(steps // 2, -1, -every)})
    axes.set_xticks([gap + pitch_x * (i + 0.5) - 1 for i in shown], [_number(told[i]) for i in shown], fontsize=8)
    axes.tick_params(length=0)
    axes.set_title("Latent traversals")
    axes.set_xlabel(axis + (f"; {note}" if note else ""), color=MUTED)
    axes.set_ylabel(rows, color=MUTED)
    return figure
