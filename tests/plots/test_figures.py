"""Every figure is drawn, from odd inputs too, and leaves matplotlib as it was."""

import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ppl_vae import plots as draw
from ppl_vae.plots.images import tile
from ppl_vae.plots.latents import principal_components
from ppl_vae.plots.style import CLASSES, LINES, render, save_figure

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
    assert np.isnan(sheet[0, 4, 4])
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
