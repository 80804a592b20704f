"""Figures: of arrays, one function each, and all that a pair and its data allow by `gallery`.

Every function returns a `matplotlib.figure.Figure`, which notebooks show and `figure.savefig` writes; pyplot and
matplotlib's settings are left alone. Reports and the verbs of the command line draw with the same functions.
"""

from ppl_vae.doors import doors
from ppl_vae.plots.calibration import calibration
from ppl_vae.plots.curves import learning_curves
from ppl_vae.plots.dependencies import dependencies
from ppl_vae.plots.gaps import gaps
from ppl_vae.plots.gradients import gradient_variances
from ppl_vae.plots.images import image_grid, image_rows, reconstructions, traversals
from ppl_vae.plots.latents import information, kl_per_unit, latent_map, pareto_k_histogram
from ppl_vae.plots.of_pair import Gallery, gallery
from ppl_vae.plots.style import CLASSES, LINES, render, save_figure, theme
from ppl_vae.plots.tables import feature_reconstructions, feature_traversals, sample_marginals

__all__ = [
    "CLASSES",
    "LINES",
    "Gallery",
    "calibration",
    "dependencies",
    "feature_reconstructions",
    "feature_traversals",
    "gallery",
    "gaps",
    "gradient_variances",
    "image_grid",
    "image_rows",
    "information",
    "kl_per_unit",
    "latent_map",
    "learning_curves",
    "pareto_k_histogram",
    "reconstructions",
    "render",
    "sample_marginals",
    "save_figure",
    "theme",
    "traversals",
]

doors(__name__)
