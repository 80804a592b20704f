"""`ppl-vae encode`: where the guide puts the latents of each datum."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from ppl_vae.cli.hydra import Context
from ppl_vae.cli.new_data import asked
from ppl_vae.cli.open_run import opened
from ppl_vae.cli.output import Result
from ppl_vae.cli.progress import bar
from ppl_vae.cli.rows import save_rows


def run(cfg: DictConfig, context: Context) -> Result:
    """Write means and scales of the latents, by site, into `DIR/encoded/NAME.csv` (or `.parquet`, `.npz`)."""
    from ppl_vae.codes.encode import encode
    from ppl_vae.core.half import array_of

    run, vae = opened(cfg, context)
    data = asked(cfg, run)
    with bar("codes") as progress:
        codes = encode(vae, data.split, num_particles=cfg.num_particles, seed=cfg.seed, progress=progress)
    arrays: dict[str, Any] = {}
    for name, code in codes.items():
        arrays |= {name: array_of(code.loc), f"{name}_scale": array_of(code.scale)}
    path = save_rows(run.directory / "encoded", data, arrays, cfg.save.name, run.spec)
    sites = {n: {"shape": list(code.loc.shape[1:]), "is_exact": code.is_exact} for n, code in codes.items()}
    record = {"run": str(run), "encoded": str(path), "data": len(data.split), "sites": sites}
    lines = [
        f"{name} {tuple(code.loc.shape[1:])}: "
        + ("the guide's own means and scales" if code.is_exact else f"averages over {cfg.num_particles} draws")
        for name, code in codes.items()
    ]
    return Result(record=record, lines=[*lines, f"codes of {len(data.split)} data: {path}"])
