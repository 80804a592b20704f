"""`ppl-vae impute`: missing values, given the others of their datum."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from omegaconf import DictConfig

from ppl_vae.cli.artifacts import save_arrays
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.new_data import as_written, asked, raw
from ppl_vae.cli.open_run import opened
from ppl_vae.cli.output import Result
from ppl_vae.cli.progress import bar
from ppl_vae.cli.rows import Known, save_rows
from ppl_vae.cli.verbs.generate import restored


def run(cfg: DictConfig, context: Context) -> Result:
    """Write the data, missing values filled in, in the units of the source, into `DIR/imputed/NAME.csv` (or …)."""
    from ppl_vae.codes.impute import impute
    from ppl_vae.core.evidence import THRESHOLD
    from ppl_vae.core.generate import of_data

    run, vae = opened(cfg, context)
    data = asked(cfg, run)
    with bar("imputations") as progress:
        found = impute(
            vae, data.split, num_particles=cfg.num_particles, draws=cfg.draws or 0, seed=cfg.seed, progress=progress
        )
    x, is_missing, draws = found.x, found.is_missing, found.draws
    if isinstance(x, dict):
        like = data.split[:1].batch()[0]
        x, is_missing = of_data(x, like), of_data(is_missing, like)
        draws = None if draws is None else next(v for v in draws.values() if v.shape[2:] == like.shape[1:])
    source, gone = raw(run, data.split).cpu().numpy(), is_missing.numpy()
    filled = np.where(gone, restored(run, x), source)
    own = as_written(run, data)
    known = None if own is None else Known(own, ~gone)
    path = save_rows(run.directory / "imputed", data, {"x": filled}, cfg.save.name, run.spec, known)
    k = found.pareto_k.numpy()
    bad = float(np.mean(k[np.isfinite(k)] > THRESHOLD)) if np.isfinite(k).any() and gone.any() else None
    record: dict[str, Any] = {
        "run": str(run),
        "imputed": str(path),
        "data": len(data.split),
        "missing": int(gone.sum()),
        "pareto_k_bad": bad,
    }
    told = f"{record['missing']} values of {len(data.split)} data filled in"
    lines = [
        f"{told if gone.any() else f'nothing is missing in {len(data.split)} data, which are as they were'}: {path}"
    ]
    if bad is not None:
        lines.append(f"Pareto k̂ above {THRESHOLD}, where weights should not be trusted: {bad:.1%} of the data")
    if draws is not None:
        drawn = np.where(gone, np.stack([restored(run, one) for one in draws]), source)
        record["draws"] = str(
            save_arrays(run.directory / "imputed" / f"{data.name}_draws.npz", {data.id: data.rows, "x": drawn})
        )
        if run.spec.columns is not None:  # in words, one data set after the other
            arrays = {"draw": np.repeat(np.arange(len(drawn)), len(data.rows)), "x": drawn.reshape(-1, drawn.shape[-1])}
            every = replace(data, name=f"{data.name}_draws", rows=np.tile(data.rows, len(drawn)))
            again = None if known is None else known.again(len(drawn))
            record["draws"] = str(save_rows(run.directory / "imputed", every, arrays, "csv", run.spec, again))
        lines.append(f"{cfg.draws} completed data sets: {record['draws']}")
    return Result(record=record, lines=lines, made=[path, *([record["draws"]] if draws is not None else [])])
