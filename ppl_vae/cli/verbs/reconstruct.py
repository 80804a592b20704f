"""`ppl-vae reconstruct`: each datum as its latents give it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from ppl_vae.cli.hydra import Context
from ppl_vae.cli.new_data import asked
from ppl_vae.cli.open_run import opened
from ppl_vae.cli.output import Result
from ppl_vae.cli.progress import bar
from ppl_vae.cli.rows import save_rows
from ppl_vae.cli.verbs.generate import restored


def run(cfg: DictConfig, context: Context) -> Result:
    """Write E_q E[x' | z] of each datum, in the units of the source, into `DIR/reconstructed/NAME.csv` (or …)."""
    from ppl_vae.codes.reconstruct import reconstruct

    run, vae = opened(cfg, context)
    data = asked(cfg, run)
    with bar("reconstructions") as progress:
        made = reconstruct(vae, data.split, num_particles=cfg.num_particles, seed=cfg.seed, progress=progress)
    by_site: Mapping[str, Any] = made if isinstance(made, dict) else {"x": made}
    arrays = {name: restored(run, value) for name, value in by_site.items()}
    path = save_rows(run.directory / "reconstructed", data, arrays, cfg.save.name, run.spec)
    shapes = {name: list(a.shape) for name, a in arrays.items()}
    record = {"run": str(run), "reconstructed": str(path), "data": len(data.split), "shapes": shapes}
    return Result(record=record, lines=[f"reconstructions of {len(data.split)} data: {path}"], made=[path])
