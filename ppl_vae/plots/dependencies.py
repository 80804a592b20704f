"""The structure of a pair: the sites of both programs, what each of them depends on, and the plates around them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ppl_vae.core.data import take_batch
from ppl_vae.core.dependencies import Graph, argument_names
from ppl_vae.core.dependencies import dependencies as graphs
from ppl_vae.core.run import prepare
from ppl_vae.errors import CheckError
from ppl_vae.guides.derived import Derived
from ppl_vae.guides.family import Own
from ppl_vae.plots.style import BLUE, FAINT, INK, MUTED, new_figure, styled

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

MOST = 40
"""Sites of one program up to which a picture of it can be read."""

WIDTH, HEIGHT, GAP, STEP = 1.4, 0.4, 0.14, 0.27
"""Size of a box, what is between two rows, and how far the next box begins to the right, in inches."""

STEM = 0.16
"""Where the line below a box leaves it, from its left side, in inches."""

PAD, LABEL = 0.09, 0.17
"""Between a plate and what it holds, and below it, where its name stands, in inches."""


@dataclass(frozen=True)
class Box:
    """A site or an argument: its words, its plates, and the keys of those that it depends on."""

    key: Any
    name: str
    law: str
    plates: dict[str, str]
    above: tuple[Any, ...]
    shaded: bool
    square: bool = False


@styled
def dependencies(vae: "VAE", batch: Any = None) -> Figure:
    """Draw what each site of a pair depends on, the model on the left and the guide on the right.

    Boxes stand in the order of the run. The line below a box leads to those that depend on it: a dot joins it to the
    box on its right. Latents are white, what is observed is grey; grey boxes with sharp corners are arguments of the
    programs, which are the data. Rounded frames are plates: what is global stands outside that of the data.

    Dependencies are found by following values through a run of each program, and are direct ones. The networks of a
    guide that is derived from the model are fed all that is joined to them. A program through which values cannot be
    followed is shown with all that could be seen, and says so.

    Args:
        vae: the pair.
        batch: what its programs take; by default the first data that the pair has seen.

    Raises:
        CheckError: the pair has seen no data and none are given, or a program has more than 40 sites.

    >>> import ppl_vae as pv
    >>> data = pv.datasets.load("digits")
    >>> model = pv.models.Hierarchical(data.spec, latent_dim=[4, 2])
    >>> vae = pv.VAE(model, pv.guides.Derived(model, data.spec))
    >>> [axes.get_title(loc="left") for axes in dependencies(vae, data.train[:4]).axes]
    ['Model', 'Guide']
    """
    batch = vae.reference_batch if batch is None else batch
    if batch is None:
        raise CheckError(
            "this pair has seen no data and no batch was given: its sites are known from a run. "
            "Pass a batch: dependencies(vae, batch)."
        )
    batch = take_batch(vae, batch.batch() if hasattr(batch, "batch") else batch)
    model, guide = graphs(vae, batch)
    if isinstance(vae.guide, Derived):
        guide = _told(vae.guide, model, guide)
    for title, graph in (("model", model), ("guide", guide)):
        if len(graph.nodes) > MOST:
            raise CheckError(
                f"the {title} has {len(graph.nodes)} sites; a picture of more than {MOST} cannot be read. "
                "`print(vae)` is a table of them."
            )
    data_plates = prepare(vae, batch).plates.data_plates
    names = argument_names(vae, len(batch))
    panels = [Panel(_boxes(graph, names, data_plates), data_plates) for graph in (model, guide)]
    top, between, edge = 0.4, 0.35, 0.12
    width = sum(panel.width for panel in panels) + between + 2 * edge
    height = max(panel.height for panel in panels) + top + edge
    figure = new_figure(width, height)
    figure.set_layout_engine("none")  # all places are known
    left = edge
    for title, graph, panel in zip(("Model", "Guide"), (model, guide), panels, strict=True):
        place = (left / width, 1 - (top + panel.height) / height, panel.width / width, panel.height / height)
        axes = figure.add_axes(place)
        axes.set_axis_off()
        axes.set(xlim=(0, panel.width), ylim=(-panel.height, 0))
        axes.set_title(title, loc="left")
        if not graph.is_followed:
            note = "not followed: all that could be seen"
            axes.set_title(note, loc="right", fontsize=7, color=MUTED, weight="normal")
        panel.draw(axes)
        left += panel.width + between
    return figure


def _told(derived: Derived, model: Graph, guide: Graph) -> Graph:
    """The graph of a derived guide, with its families by name and what its networks are fed."""
    assert derived.prototype is not None
    sites = {site.name: site for site in derived.prototype.sites}
    of_model = {node.name: node for node in model.nodes}
    every = frozenset(i for node in guide.nodes for i in node.arguments)
    nodes = []
    for node in guide.nodes:
        site = sites[node.name]
        above, arguments = frozenset(derived.fed(site)), every if site.is_local else frozenset()
        if isinstance(site.family, Own):  # computed by the model itself
            above = of_model[node.name].sites & sites.keys()
            arguments = of_model[node.name].arguments
        if guide.is_followed:  # and what the model does for a support that moves
            above, arguments = above | node.sites, node.arguments
        nodes.append(replace(node, law=derived.label(site), sites=above, arguments=arguments))
    return Graph(tuple(nodes), is_followed=True)


def _boxes(graph: Graph, names: Sequence[str], data_plates: frozenset[str]) -> list[Box]:
    """The sites in their order, and the arguments that any depends on where the plate over data begins."""
    boxes = list[Box]()
    arguments = sorted({i for node in graph.nodes for i in node.arguments})
    for node in graph.nodes:
        plates = {name: name if name in data_plates else f"{name}: {size}" for name, size in node.plates.items()}
        own = {name: label for name, label in plates.items() if name in data_plates}
        if own or node.arguments:
            boxes += [Box((i,), names[i], "", own, (), shaded=True, square=True) for i in arguments]
            arguments = []
        law = node.law + (f" ({'×'.join(map(str, node.shape))})" if node.shape else "")
        above = (*((i,) for i in sorted(node.arguments)), *sorted(node.sites))
        boxes.append(Box(node.name, node.name, law, plates, above, shaded=node.is_observed))
    return boxes


class Panel:
    """One program, and where each thing lies, in inches from the upper left corner.

    Args:
        boxes: from the top to the bottom.
        data_plates: names of the plate over data, which lies around others.
    """

    def __init__(self, boxes: list[Box], data_plates: frozenset[str]) -> None:
        self.boxes = boxes
        runs = _runs(boxes, data_plates)
        # A frame lies inside another one if it is no longer, and later among equals.
        self.frames = [(*run, _depth(runs[i:])) for i, run in enumerate(runs)]
        self.x, self.y = list[float](), list[float]()
        x, y = PAD, -PAD
        for i in range(len(boxes)):
            starts = sum(first == i for _, first, _, _ in self.frames)
            x, y = x + (STEP if i else 0.0) + PAD * starts, y - PAD * starts - HEIGHT / 2
            self.x.append(x)
            self.y.append(y)
            ends = sum(last == i for *_, last, _ in self.frames)
            y -= HEIGHT / 2 + GAP + LABEL * ends
        deepest = max((depth for *_, depth in self.frames), default=0)
        self.width = max(x + WIDTH + PAD * (deepest + 1), 1.0)
        self.height = max(-y, HEIGHT)

    def draw(self, axes: Axes) -> None:
        """Draw frames, lines, dots and boxes."""
        for i, (label, first, last, depth) in enumerate(self.frames):
            starts = sum(f == first for _, f, _, _ in self.frames[i:])
            ends = sum(e == last for _, _, e, _ in self.frames[i:])
            low_x, high_x = self.x[first] - PAD * starts, self.x[last] + WIDTH + PAD * depth
            low_y = self.y[last] - HEIGHT / 2 - LABEL * ends
            high_y = self.y[first] + HEIGHT / 2 + PAD * starts
            _rounded(axes, (low_x, low_y, high_x, high_y), 0.06, fc="none", ec=MUTED, lw=0.8, zorder=1)
            words: dict[str, Any] = {"fontsize": 6.5, "color": MUTED, "parse_math": False}
            axes.text(high_x - 0.06, low_y + 0.045, _short(label, 24), ha="right", va="baseline", zorder=1, **words)
        rows = {box.key: row for row, box in enumerate(self.boxes)}
        for row, box in enumerate(self.boxes):
            for key in box.above:
                self._joined(axes, rows[key], row)
        for row, box in enumerate(self.boxes):
            x, y, colour = self.x[row], self.y[row], FAINT if box.shaded else "white"
            corner = 0.001 if box.square else HEIGHT / 2
            around = (x, y - HEIGHT / 2, x + WIDTH, y + HEIGHT / 2)
            _rounded(axes, around, corner, fc=colour, ec=INK, lw=1.0, zorder=4)
            words = {"ha": "center", "va": "center", "zorder": 5, "parse_math": False}
            place = x + WIDTH / 2
            axes.text(place, y + (0.075 if box.law else 0), _short(box.name, 16), weight="bold", fontsize=8, **words)
            axes.text(place, y - 0.09, _short(box.law, 24), color=MUTED, fontsize=6.5, **words)

    def _joined(self, axes: Axes, column: int, row: int) -> None:
        """The line below a box, down to a row that depends on it, and a dot where it turns."""
        x, y = self.x[column] + STEM, self.y[row]
        colour = MUTED if self.boxes[column].square else BLUE
        axes.plot([x, x], [self.y[column], y], color=colour, lw=0.9, zorder=2)
        axes.plot([x, self.x[row]], [y, y], color=MUTED, lw=0.9, zorder=1.5)
        axes.plot(x, y, "o", color=colour, ms=3.6, zorder=3)


Run = tuple[str, int, int]
"""The label of a plate, and the first and last of the boxes that stand in it one after another."""


def _runs(boxes: list[Box], data_plates: frozenset[str]) -> list[Run]:
    """The frames of all plates, longer ones first, and among equals that over data."""
    found = list[tuple[bool, Run]]()
    for plate in dict.fromkeys(name for box in boxes for name in box.plates):
        start = None
        for i, plates in enumerate([*(box.plates for box in boxes), {}]):
            if plate in plates and start is None:
                start = i
            elif plate not in plates and start is not None:
                found.append((plate in data_plates, (boxes[start].plates[plate], start, i - 1)))
                start = None
    return [run for _, run in sorted(found, key=lambda f: (f[1][1] - f[1][2], not f[0], f[1][1]))]


def _depth(runs: list[Run]) -> int:
    """The number of frames that lie in each other within the first one of a list, with itself."""
    _, first, last = runs[0]
    inside = [run for run in runs[1:] if first <= run[1] and run[2] <= last]
    return 1 + max((_depth(inside[i:]) for i in range(len(inside))), default=0)


def _rounded(axes: Axes, around: tuple[float, float, float, float], corner: float, **options: Any) -> None:
    low_x, low_y, high_x, high_y = around
    style = f"round,pad=0,rounding_size={corner}"
    axes.add_patch(FancyBboxPatch((low_x, low_y), high_x - low_x, high_y - low_y, style, **options))


def _short(text: str, most: int) -> str:
    """A text without its middle: names differ at their ends."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most - most // 2) :]}"
