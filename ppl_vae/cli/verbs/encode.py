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
    """Write means and scales of the latents into `DIR/encoded/NAME.csv` (or `.parquet`, `.npz`).

    They are by site; those of a series of sites (`z_0`, `z_1`, …) are one array, `(data, time, …)`.
    """
    from ppl_vae.codes.encode import encode
    from ppl_vae.core.half import array_of
    from ppl_vae.core.run import terms
    from ppl_vae.core.series import series_of, stacked

    run, vae = opened(cfg, context)
    data = asked(cfg, run)
    with bar("codes") as progress:
        codes = encode(vae, data.split, num_particles=cfg.num_particles, seed=cfg.seed, progress=progress)
    found = series_of(terms(vae, data.split[:1].batch(), mode="draw"))
    locs, scales = ({n: array_of(getattr(c, part)) for n, c in codes.items()} for part in ("loc", "scale"))
    locs, scales = stacked(locs, found, 1), stacked(scales, found, 1)
    exact = {n: all(codes[step].is_exact for step in found.get(n, [n])) for n in locs}
    arrays: dict[str, Any] = {}
    for name in locs:
        arrays |= {name: locs[name], f"{name}_scale": scales[name]}
    path = save_rows(run.directory / "encoded", data, arrays, cfg.save.name, run.spec)
    sites = {n: {"shape": list(loc.shape[1:]), "is_exact": exact[n]} for n, loc in locs.items()}
    record = {"run": str(run), "encoded": str(path), "data": len(data.split), "sites": sites}
    lines = [
        f"{name} {tuple(loc.shape[1:])}: "
        + ("the guide's own means and scales" if exact[name] else f"averages over {cfg.num_particles} draws")
        for name, loc in locs.items()
    ]
    return Result(record=record, lines=[*lines, f"codes of {len(data.split)} data: {path}"], made=[path])
