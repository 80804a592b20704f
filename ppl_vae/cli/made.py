"""The files that verbs make inside a run directory: figures, posterior, samples, report."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl_vae.training.atomic import write_atomically

if TYPE_CHECKING:
    from ppl_vae.datasets import Spec, Split
    from ppl_vae.runs import Run
    from ppl_vae.vae import VAE


def save_figures(directory: Path, figures: Mapping[str, Any]) -> list[Path]:
    """Write figures as PNG into `DIR/figures`."""
    from ppl_vae.reports.figures import save_figure

    return [save_figure(figure, directory / "figures" / f"{name}.png") for name, figure in figures.items()]


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> Path:
    """Write an npz file whole or not at all."""
    buffer = io.BytesIO()
    plain: Any = {name: np.asarray(a) for name, a in arrays.items()}
    np.savez_compressed(buffer, **plain)
    write_atomically(path, buffer.getvalue())
    return path


def make_posterior(
    vae: VAE, split: Split, spec: Spec, directory: Path, *, draws: int, seed: int, figures: bool
) -> tuple[Path, Any]:
    """Draw the posterior of some data into `DIR/posterior.nc`; give its path and ArviZ's summary of it."""
    from ppl_vae._arviz import summary, to_tree
    from ppl_vae.draws import posterior
    from ppl_vae.posterior import save

    drawn = posterior(vae, split, draws=draws, spec=spec, seed=seed)
    path = save(to_tree(drawn), directory / "posterior.nc")
    table = summary(drawn)
    write_atomically(directory / "posterior.csv", table.to_csv())
    if figures:
        from ppl_vae.reports.figures import pareto_k_histogram

        k = drawn["sample_stats"].get("pareto_k") if "sample_stats" in groups(drawn) else None
        if k is not None and np.isfinite(np.asarray(k)).any():
            save_figures(directory, {"posterior_pareto_k": pareto_k_histogram(np.asarray(k))})
    return path, table


def groups(drawn: Any) -> list[str]:
    """The groups of a posterior, by either generation of ArviZ."""
    return list(drawn.groups()) if callable(drawn.groups) else [g.strip("/") for g in drawn.groups if g != "/"]


def latest_evaluation(run: Run) -> tuple[dict[str, Any] | None, Any]:
    """Summary and table of `evaluate`, on test data before others."""
    import pandas as pd

    for part in ("test", "validation", "train"):
        folder = run.directory / "evaluation" / part
        if (folder / "summary.json").exists():
            summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            return summary, pd.read_csv(folder / "table.csv", index_col=0)
    return None, None
