"""The files that verbs make inside a run directory: figures, posterior, samples, report."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl_vae import files
from ppl_vae.errors import RunError
from ppl_vae.imports import unsearched
from ppl_vae.runs.files import write_atomically
from ppl_vae.runs.recorder import read_json
from ppl_vae.runs.tables import read_csv, to_csv

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.datasets import Spec, Split
    from ppl_vae.runs.run import Run


LARGEST_RANKS = 2**28
"""Bytes of ranks that are read at most: two thousand simulations of some ten thousand units."""

MOST_RANKED = 100_000
"""Units whose ranks are read at most: each is drawn at many points before those that depart most are chosen."""

SUMMED_UP = 1_000
"""Data of a posterior that are summed up at most: a table with a row for each of their units is for reading."""


def save_figures(directory: Path, figures: Mapping[str, Any]) -> list[Path]:
    """Write figures as PNG into `DIR/figures`."""
    with unsearched():
        from ppl_vae.plots import save_figure

    return [
        save_figure(figure, directory / "figures" / f"{name.replace('/', '.')}.png") for name, figure in figures.items()
    ]


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> Path:
    """Write an npz file whole or not at all."""
    buffer = io.BytesIO()
    plain: Any = {name: np.asarray(a) for name, a in arrays.items()}
    np.savez_compressed(buffer, **plain)
    write_atomically(path, buffer.getvalue())
    return path


def make_posterior(
    vae: VAE, split: Split, spec: Spec, directory: Path, *, draws: int, seed: int, figures: bool, resample: Any = None
) -> tuple[Path, Any]:
    """Draw the posterior of some data into `DIR/posterior.nc`; give its path and the summary of the first data."""
    from ppl_vae.cli.progress import attempt, bar

    with unsearched():
        import h5netcdf  # noqa: F401 - by which the file is written

        from ppl_vae.inference_data.draw import draw_tree
        from ppl_vae.inference_data.groups import read_group
        from ppl_vae.inference_data.summary import summary

    path = directory / "posterior.nc"
    with bar("posterior") as progress:
        options: dict[str, Any] = {"draws": draws, "spec": spec, "seed": seed, "resample": resample}
        draw_tree(vae, split, path=path, progress=progress, **options)
    table = summary(read_group(path, "posterior", data=SUMMED_UP))
    write_atomically(directory / "posterior.csv", to_csv(table))
    if figures:
        from ppl_vae.plots import pareto_k_histogram

        k = read_group(path, "sample_stats", ["pareto_k"]).get("pareto_k")
        if k is not None and np.isfinite(k.values).any():
            with attempt("posterior", "figure of k̂"):
                save_figures(directory, {"posterior_pareto_k": pareto_k_histogram(k.values)})
    return path, table


def make_refined(vae: VAE, split: Split, spec: Spec, directory: Path, *, seed: int) -> tuple[Path, Any]:
    """Draw HMC chains of some data into `DIR/refined.nc`; give its path and ArviZ's summary with r̂."""
    from ppl_vae.cli.progress import bar
    from ppl_vae.inference_data._arviz import summary, to_tree
    from ppl_vae.inference_data.groups import save
    from ppl_vae.mcmc.refine import refine

    with bar("refined by HMC") as progress:
        drawn = refine(vae, split, spec=spec, seed=seed, progress=progress)
    path = save(to_tree(drawn), directory / "refined.nc")
    table = summary(drawn, kind="all")
    write_atomically(directory / "refined.csv", to_csv(table))
    return path, table


def groups(drawn: Any) -> list[str]:
    """The groups of a posterior, by either generation of ArviZ."""
    return list(drawn.groups()) if callable(drawn.groups) else [g.strip("/") for g in drawn.groups if g != "/"]


def latest_evaluation(run: Run) -> tuple[dict[str, Any] | None, Any]:
    """Summary and table of `evaluate`, on test data before others; `split` in the summary says on which."""
    folder = _latest(run)
    if folder is None:
        return None, None
    summary = _findings(folder / "summary.json")
    summary = {"split": folder.name, **summary}
    return summary, read_csv(folder / "table.csv")


def evaluated_units(run: Run) -> Any:
    """The units of the same evaluation, a row each; None where it has none."""
    folder = _latest(run)
    if folder is None or not files.is_there(folder / "units.csv"):
        return None
    return read_csv(folder / "units.csv").reset_index()


def _findings(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path, "what ppl-vae found of a run", dict[str, Any])
    return found


def _latest(run: Run) -> Path | None:
    folders = (run.directory / "evaluation" / part for part in ("test", "validation", "train"))
    return next((folder for folder in folders if (folder / "summary.json").exists()), None)


def further_results(run: Run) -> dict[str, dict[str, Any]]:
    """Findings of `calibrate` and of the further scores of `evaluate`, by name."""
    folder = _latest(run)
    paths = [] if folder is None else [p for p in sorted(folder.glob("*.json")) if p.name != "summary.json"]
    found = {p.stem: _findings(p) for p in paths}
    calibration = run.directory / "calibration" / "summary.json"
    if files.is_there(calibration):
        found["calibration"] = _findings(calibration)
    return found


def calibration_ranks(run: Run) -> dict[str, Any]:
    """The ranks that `calibrate` has written, by site; none where there are none.

    Raises:
        RunError: for a file that is no archive of numbers, or holds more than a page is made of.
    """
    path = run.directory / "calibration" / "ranks.npz"
    if not files.is_there(path):
        return {}
    packed = io.BytesIO(files.read(path))
    try:
        with zipfile.ZipFile(packed) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST_RANKS:
                raise ValueError("it is too large")
        with np.load(packed, allow_pickle=False) as found:
            ranks = {name: found[name] for name in found.files}
        if sum(r.size for r in ranks.values()) * np.dtype(np.float64).itemsize > LARGEST_RANKS:
            raise ValueError("it is too large")  # numbers of a byte each become eight
        if sum(r.size // max(len(np.atleast_1d(r)), 1) for r in ranks.values()) > MOST_RANKED:
            raise ValueError(f"it has more than {MOST_RANKED:,} units")
        return {name: np.asarray(r, dtype=np.float64) for name, r in ranks.items()}
    except Exception as error:  # of whatever kind, see `datasets.files.reading`
        raise RunError(f"{path} cannot be read ({error}); expected the ranks that ppl-vae calibrate wrote") from None


def further_figures(run: Run) -> dict[str, bytes]:
    """The pictures that belong to these."""
    found: dict[str, bytes] = {}
    for name in ("calibration_*", "gaps", "information", "checks"):
        found |= {p.stem: files.read(p) for p in sorted((run.directory / "figures").glob(f"{name}.png"))}
    return found
