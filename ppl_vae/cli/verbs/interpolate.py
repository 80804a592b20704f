"""`ppl-vae interpolate`: from one datum to another, through the latents."""

from __future__ import annotations

from typing import Any

import numpy as np
from omegaconf import DictConfig

from ppl_vae.cli.artifacts import save_arrays, save_figures
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.new_data import asked
from ppl_vae.cli.open_run import opened
from ppl_vae.cli.output import Result
from ppl_vae.cli.progress import attempt
from ppl_vae.cli.verbs.generate import restored
from ppl_vae.errors import DataError, UsageError


def run(cfg: DictConfig, context: Context) -> Result:
    """Write the ways, `(ways, steps, …)`, into `DIR/interpolated.npz`, and a picture of them into `DIR/figures`."""
    from ppl_vae.codes.interpolate import interpolate
    from ppl_vae.core.generate import of_data

    if cfg.path not in ("linear", "spherical"):
        raise UsageError(f"path: got {cfg.path}, expected linear or spherical")
    run, vae = opened(cfg, context)
    data = asked(cfg, run)
    start, end = (_rows(cfg, name, len(data.split)) for name in ("start", "end"))
    if len(start) != len(end):
        raise UsageError(f"start, end: got {len(start)} and {len(end)} rows, expected as many")
    made = interpolate(vae, data.split[start], data.split[end], cfg.steps, path=cfg.path, seed=cfg.seed)
    by_site = made if isinstance(made, dict) else {"x": made}
    ways = {name: np.stack([restored(run, way) for way in value]) for name, value in by_site.items()}
    rows = {"start": data.rows[start], "end": data.rows[end]}
    path = save_arrays(run.directory / "interpolated.npz", {**ways, **rows})
    pictures = []
    if cfg.figures and run.spec.is_image and run.spec.shape[0] in (1, 3):
        from ppl_vae import plots
        from ppl_vae.plots.of_pair import Pixels

        with attempt("interpolate", "figures"):
            x = made if not isinstance(made, dict) else of_data(made, made[next(iter(made))])
            pixels = Pixels(run.spec, data.split[start + end].batch()[0])
            sheet = pixels(x.flatten(0, 1))
            drawn = {"interpolated": plots.image_grid(sheet, cfg.steps, "From one datum to another")}
            pictures = save_figures(run.directory, drawn)
    shapes = {name: list(a.shape) for name, a in ways.items()}
    record: dict[str, Any] = {"run": str(run), "interpolated": str(path), "shapes": shapes, "figures": pictures}
    lines = [f"{len(start)} ways of {cfg.steps} steps: {path}", *(f"figure: {p}" for p in pictures)]
    return Result(record=record, lines=lines, made=[path])


def _rows(cfg: DictConfig, name: str, n: int) -> list[int]:
    rows = [int(row) for row in cfg[name]]
    if not rows or any(not 0 <= row < n for row in rows):
        raise DataError(f"{name}: got rows {rows}, expected some from 0 to {n - 1}")
    return rows
