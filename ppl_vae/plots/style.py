"""The look of all figures: colour-blind safe, legible in print, and without a trace in global state."""

import contextlib
import functools
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from ppl_vae.files import folder
from ppl_vae.runs.files import write_atomically

P = ParamSpec("P")
R = TypeVar("R")

BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
VERMILION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
SKY: Final = "#56B4E9"
INK: Final = "#1c2733"
MUTED: Final = "#6b7785"
FAINT: Final = "#dfe4ea"
LINES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
"""Six colours for curves: of Okabe and Ito (2008), told apart with every common form of colour blindness."""

CLASSES = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#7f7f7f",
)  # fmt: skip
"""Ten colours for classes: Paul Tol's "muted" set and a grey."""

PAPER: Final = LinearSegmentedColormap.from_list("paper", ["#ffffff", "#c9d6e2", "#5f7f9e", "#1f3b57", "#0b1a29"])
"""White paper to blue-black ink: grey-scale images are shown with it."""

_RC: Final[dict[str, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.unicode_minus": True,
    "axes.prop_cycle": cycler(color=LINES),
    "image.cmap": "Greys",
    "axes.formatter.useoffset": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "ppl_vae",  # equal figures make equal files
}


@contextlib.contextmanager
def theme() -> Iterator[None]:
    """Draw figures of your own in the look of these; matplotlib's settings are afterwards as they were.

    Curves take the colours of `LINES`; for classes there are those of `CLASSES`.

    >>> import matplotlib as mpl
    >>> with theme():
    ...     mpl.rcParams["axes.prop_cycle"].by_key()["color"][0] == LINES[0]
    True
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)  # type: ignore[arg-type]
        yield


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw in the look of all figures, see `theme`."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with theme():
            return draw(*args, **kwargs)

    return wrapper


class Shown(Figure):
    """A figure that a notebook shows, though pyplot knows nothing about it."""

    def _repr_png_(self) -> bytes:
        return render(self, dpi=96)


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure, in inches, that pyplot knows nothing about."""
    figure = Shown(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def grid_lines(axes: Axes, axis: str = "y") -> None:
    """Draw faint guide lines below the data."""
    axes.grid(True, axis=axis)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def picture(image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return `(C, H, W)` pixels and keywords for `imshow`: one channel is ink on paper, three are RGB."""
    image = np.asarray(image, dtype=np.float64)
    if image.shape[0] == 3:
        return np.clip(np.moveaxis(image, 0, -1), 0, 1), {"interpolation": "nearest"}
    return image.mean(0), {"cmap": PAPER, "vmin": 0.0, "vmax": 1.0, "interpolation": "nearest"}


@styled
def render(figure: Figure, form: str = "png", dpi: int = 160) -> bytes:
    """Return the bytes of a figure as `png`, `svg` or `pdf`.

    Equal figures make equal bytes.

    >>> import ppl_vae as pv
    >>> render(pv.plots.kl_per_unit([2.0, 0.1]))[1:4]
    b'PNG'
    """
    if form == "png" and isinstance(figure, Shown):
        return _png(figure, dpi)
    buffer = BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
    figure.savefig(buffer, format=form, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def _png(figure: Figure, dpi: int) -> bytes:
    """Draw a figure of ours once: `savefig` draws it twice, the first time to lay it out, which drawing does anyway.

    The pixels are those of `savefig`; what they are on is white, so that all are opaque. Runs of equal bytes alone take
    half the time to find that all repetitions take, and pages of flat colour hardly grow.
    """
    canvas, was, face = figure.canvas, figure.dpi, figure.get_facecolor()
    page = FigureCanvasAgg(figure)
    try:
        figure.dpi = dpi
        figure.set_facecolor(mpl.rcParams["savefig.facecolor"])
        page.draw()
    finally:
        figure.dpi = was
        figure.set_facecolor(face)
        figure.set_canvas(canvas)
    buffer = BytesIO()
    pixels = Image.fromarray(np.asarray(page.buffer_rgba())).convert("RGB")
    pixels.save(buffer, format="png", dpi=(dpi, dpi), compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure whole or not at all; the suffix says the format."""
    folder(path.parent)
    write_atomically(path, render(figure, path.suffix.removeprefix(".") or "png"))
    return path
