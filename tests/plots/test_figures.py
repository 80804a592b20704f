"""Every figure is drawn, from odd inputs too, and leaves matplotlib as it was."""

import sys
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from PIL import Image

from ppl_vae import plots as draw
from ppl_vae.errors import ArgumentError
from ppl_vae.plots.images import tile
from ppl_vae.plots.latents import principal_components
from ppl_vae.plots.style import CLASSES, LINES, PAPER, render, save_figure
from ppl_vae.training.history import History

RNG = np.random.default_rng(0)
IMAGES = RNG.random((13, 1, 8, 8))
ROWS = [
    {
        "epoch": e,
        "train/elbo": -30.0 + e,
        "validation/elbo": -31.0 + e,
        "validation/bound": -31.0 + e,
        "validation/kl/z": 2.0,
        "validation/log_likelihood": -29.0,
        "beta": e / 5,
        "lr": 1e-3,
    }
    for e in range(1, 6)
]

CASES = {
    "curves": lambda: draw.learning_curves(ROWS),
    "one epoch, nothing but a bound": lambda: draw.learning_curves([{"epoch": 1, "train/elbo": -3.0}]),
    "curves with gaps": lambda: draw.learning_curves([*ROWS, {"epoch": 6, "train/elbo": float("nan")}]),
    "samples": lambda: draw.image_grid(IMAGES),
    "one sample in colour": lambda: draw.image_grid(RNG.random((1, 3, 5, 7))),
    "reconstructions": lambda: draw.reconstructions(IMAGES, IMAGES, columns=5),
    "traversals": lambda: draw.traversals(RNG.random((2, 5, 1, 8, 8)), np.linspace(-2, 2, 5), ["a", "b"]),
    "map by class": lambda: draw.latent_map(RNG.normal(size=(50, 4)), np.arange(50) % 3, ["a", "b", "c"]),
    "map by number": lambda: draw.latent_map(RNG.normal(size=(50, 2)), RNG.normal(size=50)),
    "map of one unit": lambda: draw.latent_map(RNG.normal(size=(50, 1)), np.arange(50) % 2),
    "map without labels": lambda: draw.latent_map(RNG.normal(size=(50, 3))),
    "kl": lambda: draw.kl_per_unit(np.array([2.0, 0.0, 1.0]), np.array([True, False, True])),
    "kl of many units": lambda: draw.kl_per_unit(RNG.random(200)),
    "pareto k": lambda: draw.pareto_k_histogram(np.array([0.1, 0.9, np.inf, np.nan, -0.3])),
    "pareto k of any size": lambda: draw.pareto_k_histogram(np.array([0.1, 1e12, -1e12])),
    "gaps": lambda: draw.gaps(pd.DataFrame({"approximation": RNG.random(60), "amortization": RNG.normal(size=60)})),
    "calibration": lambda: draw.calibration(RNG.random((100, 3))),
    "calibration of statistics": lambda: draw.calibration(RNG.random((100, 1)), "ink", place="rank of T(x)"),
    "information": lambda: draw.information(
        pd.DataFrame(
            {"unit": [0, 1, "joint"], "kl": [2.0, 1, 3], "information": [1.5, -0.1, 2], "marginal_kl": [1, 1, 1]}
        )
    ),
    "marginals": lambda: draw.sample_marginals(RNG.normal(size=(30, 14)), RNG.normal(size=(20, 14))),
    "samples that have ended": lambda: draw.sample_marginals(
        RNG.normal(size=(30, 3)), np.array([[0.1, np.nan, np.nan], [0.2, 1e9, np.nan]])
    ),
    "nothing there": lambda: draw.sample_marginals(np.full((3, 1), np.nan), np.full((2, 1), np.nan)),
    "constant column": lambda: draw.sample_marginals(np.zeros((30, 1)), np.zeros((20, 1)), ["c"]),
    "table rebuilt": lambda: draw.feature_reconstructions(RNG.normal(size=(30, 5)), RNG.normal(size=(30, 5))),
    "grey images and their binarized ones": lambda: draw.reconstructions(IMAGES, IMAGES, IMAGES),
    "rows of one image": lambda: draw.image_rows({"x": IMAGES[:1]}),
    "categories": lambda: draw.feature_traversals(RNG.normal(size=(1, 3, 8)), ["a", "b", "c"], ["y"]),
    "map of classes that coincide": lambda: draw.latent_map(np.zeros((10, 2)), np.arange(10)),
    "table traversed": lambda: draw.feature_traversals(
        RNG.normal(size=(3, 5, 8)), np.linspace(-2, 2, 5), ["a", "b", "c"]
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_draws(case):
    settings, pyplot = dict(mpl.rcParams), "matplotlib.pyplot" in sys.modules
    figure = CASES[case]()
    assert isinstance(figure, Figure)
    png = render(figure, dpi=60)
    assert png.startswith(b"\x89PNG")
    assert dict(mpl.rcParams) == settings
    assert ("matplotlib.pyplot" in sys.modules) == pyplot


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_those_of_savefig(case):
    """Drawn once in place of twice, without the channel of opacity; the figure is afterwards as it was."""
    state = RNG.bit_generator.state
    figure = CASES[case]()
    RNG.bit_generator.state = state
    same = CASES[case]()  # drawing a figure again may move its layout
    canvas, dpi, face = figure.canvas, figure.dpi, figure.get_facecolor()
    png = Image.open(BytesIO(render(figure, dpi=70)))
    assert (figure.canvas, figure.dpi, figure.get_facecolor()) == (canvas, dpi, face)
    assert png.mode == "RGB"
    assert np.allclose(png.info["dpi"], 70, atol=0.01)  # PNG has dots per metre
    saved = BytesIO()
    with draw.theme():
        same.savefig(saved, dpi=70)
    np.testing.assert_array_equal(png, Image.open(saved).convert("RGB"))


def test_other_figures_than_ours_are_saved_by_matplotlib():
    figure = Figure(facecolor="red", layout="none")
    assert Image.open(BytesIO(render(figure))).getpixel((0, 0)) == (255, 255, 255, 255)  # as `savefig` in our look


def test_a_sheet_has_its_colours_to_the_byte():
    """Ink by level, the lines between images in their colour, and nothing after the last image of a row."""
    levels = np.array([0.0, 0.25, 1.0])
    (image,) = draw.image_grid(np.ones((3, 1, 2, 2)) * levels[:, None, None, None], columns=2).axes[0].images
    shown = image.get_array()[..., :3]
    line, paper = [0xDF, 0xE4, 0xEA], PAPER(0.0, bytes=True)[:3]
    np.testing.assert_array_equal(shown[[1, 1, 4], [1, 4, 1]], PAPER(levels, bytes=True)[:, :3])
    np.testing.assert_array_equal(shown[[0, 3, 1], [0, 1, 3]], [line] * 3)
    np.testing.assert_array_equal(shown[4, 4], paper)
    colours = RNG.random((1, 3, 2, 2))
    (image,) = draw.image_grid(colours).axes[0].images
    np.testing.assert_array_equal(image.get_array()[1:3, 1:3, :3], (255 * np.moveaxis(colours[0], 0, -1)).astype(int))


def test_equal_data_make_equal_files(tmp_path):
    first, second = (draw.kl_per_unit(np.array([1.0, 2.0])) for _ in range(2))
    for form in ("png", "svg"):
        assert render(first, form) == render(second, form)
    path = save_figure(first, tmp_path / "figures" / "kl.png")
    assert [p.name for p in path.parent.iterdir()] == ["kl.png"]


def test_tile_puts_images_in_reading_order():
    sheet = tile(np.arange(3.0)[:, None, None, None] * np.ones((1, 1, 2, 2)), columns=2)
    assert sheet[0, 1, 1] == 0
    assert sheet[0, 1, 4] == 1
    assert sheet[0, 4, 1] == 2
    assert np.isinf(sheet[0, 4, 4])  # no image is there: paper
    assert np.isnan(sheet[0, 0]).all()


def test_principal_components_are_those_of_the_covariance():
    points = RNG.normal(size=(200, 3)) @ np.diag([3.0, 2.0, 0.1]) + 5
    projected, explained = principal_components(points)
    values = np.sort(np.linalg.eigvalsh(np.cov(points.T)))[::-1]
    np.testing.assert_allclose(projected.var(0, ddof=1), values[:2])
    np.testing.assert_allclose(explained, values[:2] / values.sum())


def _luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LINES, CLASSES])
def test_colours_differ_for_the_colour_blind(palette):
    """Simulated deuteranopia (Viénot 1999): no two colours of a palette fall together, lightness included."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    blind = np.linalg.inv(to_lms) @ np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]) @ to_lms
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in palette])
    seen = (rgb**2.2) @ blind.T
    distance = np.linalg.norm(seen[:, None].clip(0) ** 0.45 - seen[None].clip(0) ** 0.45, axis=-1)
    assert distance[~np.eye(len(palette), dtype=bool)].min() > 0.04
    assert all(_luminance(c) < 0.75 for c in palette)  # visible on white


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_reconstruction_and_kl_have_axes_of_their_own():
    figure = draw.learning_curves(ROWS)
    assert titles(figure) == ["Evidence lower bound", "Reconstruction", "KL", "Schedule"]
    _, reconstruction, kl, _ = figure.axes
    assert reconstruction.lines[0].get_ydata().tolist() == [29.0] * 5
    assert kl.lines[0].get_ydata().tolist() == [2.0] * 5
    assert all(axes.get_xlabel() == "epoch" and axes.get_ylabel() for axes in figure.axes)


def test_of_many_sites_the_small_ones_are_told_together():
    rows = [{"epoch": e} | {f"validation/kl/z{k}": 10.0 * (k == 7) + k for k in range(9)} for e in (1, 2)]
    (_, kl) = draw.learning_curves(rows).axes
    told = {line.get_label(): line.get_ydata()[-1] for line in kl.lines}
    assert told == {"z7": 17.0, "z8": 8.0, "z6": 6.0, "z5": 5.0, "z4": 4.0, "the other 4 together": 6.0}


def test_a_history_is_drawn_as_its_rows_are():
    assert render(draw.learning_curves(History(ROWS))) == render(draw.learning_curves(ROWS))


@pytest.mark.parametrize("names", [None, ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Ankle boot"]])
def test_names_of_classes_do_not_overlap(names):
    """Of six classes that lie upon one another."""
    figure = draw.latent_map(RNG.normal(size=(60, 2)), np.arange(60) % 6, names)
    figure.draw_without_rendering()
    texts = [child for child in figure.axes[0].get_children() if isinstance(child, Annotation)]
    boxes = [Text.get_window_extent(text) for text in texts]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(figure.axes[0].get_window_extent().contains(*box.min) for box in boxes)


WITHOUT_AXES = {  # images on a sheet; names stand at rows
    "samples",
    "one sample in colour",
    "reconstructions",
    "grey images and their binarized ones",
    "rows of one image",
}


@pytest.mark.parametrize("case", sorted(CASES.keys() - WITHOUT_AXES))
def test_axes_and_curves_have_names(case):
    """Whoever sees a figure alone knows what is drawn against what, and which curve is which."""
    figure = CASES[case]()
    of_all_x, of_all_y = (bool(text and text.get_text()) for text in (figure._supxlabel, figure._supylabel))
    assert CASES.keys() > WITHOUT_AXES
    for axes in (axes for axes in figure.axes if axes.get_visible()):
        assert of_all_x or axes.get_xlabel() or not len(axes.get_xticks())
        assert of_all_y or axes.get_ylabel() or not len(axes.get_yticks()) or axes is not figure.axes[0]
        curves = {line.get_color() for line in axes.lines if len(line.get_xdata()) > 2}
        assert len(curves) < 2 or axes.get_legend() or figure.legends


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ({}, "Got no rows"),
        ({"x": IMAGES, "mean": IMAGES[:3]}, r"x \(13, 1, 8, 8\), mean \(3, 1, 8, 8\)"),
        (3, "rows=3"),
    ],
)
def test_rows_of_other_data_are_refused(rows, says):
    with pytest.raises(ArgumentError, match=says):
        draw.image_rows(rows)


def test_a_theme_is_left_as_it_was_found():
    before = dict(mpl.rcParams)
    with draw.theme():
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(draw.LINES)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: draw.image_grid(IMAGES[:, 0]), r"images of shape \(13, 8, 8\).*x\[:, None\]"),
        (lambda: draw.image_grid(np.moveaxis(RNG.random((5, 3, 8, 8)), 1, -1)), "channels last"),
        (lambda: draw.image_grid(IMAGES[:0]), "one image at least"),
        (lambda: draw.traversals(IMAGES[None], [1.0], ["a"]), "1 values and 1 names for 1 units of 13 steps"),
        (lambda: draw.learning_curves(5), "rows=5"),
        (lambda: draw.learning_curves([{"train/elbo": 1.0}]), "without epoch"),
        (lambda: draw.latent_map(np.zeros((5, 2)), [0, 1]), "2 labels for 5 data"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, says):
    with pytest.raises(ArgumentError, match=says):
        call()


def test_features_of_other_units_are_drawn_by_their_own_spread():
    """A metre and a gram: neither line is flat; a constant and an unknown feature stay what they are."""
    data = np.stack([[1.0, 3.0], [0.0, 2000.0], [5.0, 5.0], [np.nan, np.nan]], 1)
    means = np.stack([[1.0, 3.0], [0.0, 2000.0], [5.0, 5.0], [0.0, 1.0]], 1)[None]
    figure = draw.feature_traversals(means, [0.0, 1.0], ["z"], ["m", "g", "c", "u"], data)
    told = {line.get_label(): line.get_ydata().tolist() for line in figure.axes[0].lines}
    assert told == {"m": [-1.0, 1.0], "g": [-1.0, 1.0], "c": [0.0, 0.0], "u": [0.0, 1.0]}
    assert "standardized" in figure._supylabel.get_text()


def test_statistics_have_their_own_names_and_the_legend_its_place():
    ranks = np.random.default_rng(0).random((100, 2)) ** [1, 3]
    figure = draw.calibration(ranks, "mean, largest", names=["mean", "largest"])
    left = figure.axes[0]
    assert [note.get_text() for note in left.texts] == ["largest"]
    figure.draw_without_rendering()
    assert not left.texts[0].get_window_extent().overlaps(left.get_legend().get_window_extent())


def test_a_long_name_does_not_reach_into_the_next_panel():
    names = ["blood_pressure_systolic_mmHg", "age"]
    figure = draw.feature_reconstructions(np.eye(5)[:, :2], np.eye(5)[:, :2], names)
    figure.draw_without_rendering()
    long, short = (axes.title if axes.get_title() else axes._left_title for axes in figure.axes[:2])
    assert long.get_text() == "blood_pressure_systol…"
    assert not long.get_window_extent().overlaps(short.get_window_extent())


def test_a_figure_that_memory_does_not_hold_is_refused():
    with pytest.raises(ArgumentError, match="more memory than there is"):
        draw.image_grid(np.zeros((4, 1, 5, 5)), columns=10**15)
