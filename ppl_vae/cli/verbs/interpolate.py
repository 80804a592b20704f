"""`ppl-vae interpolate`: from one datum to another, through the latents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from ppl_vae.cli.artifacts import save_arrays, save_figures
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.new_data import Asked, asked
from ppl_vae.cli.open_run import opened
from ppl_vae.cli.output import Result
from ppl_vae.cli.progress import attempt
from ppl_vae.cli.rows import kind_of_file, save_rows
from ppl_vae.cli.verbs.generate import restored
from ppl_vae.errors import DataError, UsageError
from ppl_vae.runs.run import Run


def run(cfg: DictConfig, context: Context) -> Result:
    """Write the ways into `DIR/interpolated.csv` (or …), a row a step, and a picture of them into `DIR/figures`.

    In `DIR/interpolated.npz`, as of images, they are arrays `(ways, steps, …)`.
    """
    from ppl_vae.codes.interpolate import interpolate
    from ppl_vae.core.generate import of_data

    if cfg.path not in ("linear", "spherical"):
        raise UsageError(f"path: got {cfg.path}, expected linear or spherical")
    run, vae = opened(cfg, context)
    data = asked(cfg, run)
    start, end = (_places(cfg, name, data) for name in ("start", "end"))
    if len(start) != len(end):
        raise UsageError(f"start, end: got {len(start)} and {len(end)} rows, expected as many")
    made = interpolate(vae, data.split[start], data.split[end], cfg.steps, path=cfg.path, seed=cfg.seed)
    by_site = made if isinstance(made, dict) else {"x": made}
    ways = {name: np.stack([restored(run, way) for way in value]) for name, value in by_site.items()}
    path = _saved(cfg, run, data, ways, {"start": data.rows[start], "end": data.rows[end]})
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


def _saved(cfg: DictConfig, run: Run, data: Asked, ways: dict[str, Any], ends: dict[str, Any]) -> Path:
    """Ways `(ways, steps, …)` as they are in an npz; in a table a row a step, with the names of both ends."""
    rows = {name: way.reshape(-1, *way.shape[2:]) for name, way in ways.items()}
    if kind_of_file(rows, cfg.save.name) == "npz":
        return save_arrays(run.directory / "interpolated.npz", {**ways, **ends})
    way, step = (a.ravel() for a in np.indices((len(ends["start"]), cfg.steps)))
    beside = {**{name: end[way] for name, end in ends.items()}, "step": step}
    every = replace(data, name="interpolated", rows=way, id="way")
    return save_rows(run.directory, every, {**beside, **rows}, cfg.save.name, run.spec)


def _places(cfg: DictConfig, name: str, data: Asked) -> list[int]:
    """Where the data are that the user means: by their places, or by their names where a column gives these."""
    n, said = len(data.split), cfg[name]
    if cfg.id is None or said is None:
        places = [*({"start": range(0, 8, 2), "end": range(1, 8, 2)}[name] if said is None else said)]
        if not places or any(type(place) is not int or not 0 <= place < n for place in places):
            hint = "" if cfg.id or all(type(place) is int for place in places) else "; names take id=, which gives them"
            raise DataError(f"{name}: got rows {places}, expected some from 0 to {n - 1}{hint}")
        return places
    if not said:
        raise DataError(f"{name}: got no names, expected some of {cfg.id}")
    names = [str(row) for row in data.rows]
    for one in map(str, said):
        if names.count(one) != 1:
            found = f"which {names.count(one)} of the data have" if one in names else "which none of the data has"
            some = f"{', '.join(names[:10])}{', …' if n > 10 else ''}"
            raise DataError(f"{name}: got {one!r} of {cfg.id}, {found}, expected the name of one: {some}")
    return [names.index(str(one)) for one in said]
