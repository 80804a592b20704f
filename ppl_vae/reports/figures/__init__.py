"""Figures from arrays, one function each; all return a `matplotlib.figure.Figure` and leave pyplot alone."""

from ppl_vae.reports.figures.calibration import calibration
from ppl_vae.reports.figures.curves import learning_curves
from ppl_vae.reports.figures.gaps import gaps
from ppl_vae.reports.figures.gradients import gradient_variances
from ppl_vae.reports.figures.guide import derived_guide
from ppl_vae.reports.figures.images import reconstructions, samples_grid, traversals
from ppl_vae.reports.figures.latents import (
    information,
    kl_per_unit,
    latent_map,
    pareto_k_histogram,
    principal_components,
)
from ppl_vae.reports.figures.tables import feature_reconstructions, feature_traversals, sample_marginals
from ppl_vae.reports.style import render, save_figure

__all__ = [
    "calibration",
    "derived_guide",
    "feature_reconstructions",
    "feature_traversals",
    "gaps",
    "gradient_variances",
    "information",
    "kl_per_unit",
    "latent_map",
    "learning_curves",
    "pareto_k_histogram",
    "principal_components",
    "reconstructions",
    "render",
    "sample_marginals",
    "samples_grid",
    "save_figure",
    "traversals",
]
