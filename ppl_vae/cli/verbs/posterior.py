"""`ppl-vae posterior`: draws from the guide and the model in ArviZ's groups, as netCDF."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from ppl_vae.cli.artifacts import groups, make_posterior, make_refined
from ppl_vae.cli.fitted import Column, Fitted, number
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.open_run import opened, part
from ppl_vae.cli.output import Result
from ppl_vae.errors import UsageError


def run(cfg: DictConfig, context: Context) -> Result:
    """Write `DIR/posterior.nc` and its summary, and show the first rows."""
    run, vae = opened(cfg, context)
    split = part(run, cfg.split.name)
    split = split if cfg.data is None else split[: cfg.data]
    if cfg.resample not in (None, "psis"):
        raise UsageError(f"resample: got {cfg.resample!r}, expected psis or null")
    if cfg.refine is not None and cfg.refine < 1:
        raise UsageError(f"refine: got {cfg.refine}, expected a number of data of at least 1, or null")
    options = {"draws": cfg.draws, "seed": cfg.seed, "figures": cfg.figures, "resample": cfg.resample}
    path, table = make_posterior(vae, split, run.spec, run.directory, **options)
    shown = groups(run.posterior())
    record = {
        "run": str(run),
        "posterior": str(path),
        "split": cfg.split.name,
        "data": len(split),
        "draws": cfg.draws,
        "groups": shown,
        "variables": len(table),
    }
    more = f"… {len(table) - 12} more rows in posterior.csv" if len(table) > 12 else ""
    made = [path]
    tables = [_table(table, "posterior.csv")]
    lines = [more, f"groups: {', '.join(shown)}", f"posterior: {path}"]
    if cfg.refine is not None:
        chains, refined = make_refined(vae, split[: cfg.refine], run.spec, run.directory, seed=cfg.seed)
        worst = float(refined["r_hat"].max())
        record |= {"refined": str(chains), "refined_data": min(cfg.refine, len(split)), "worst_r_hat": worst}
        made.append(chains)
        tables.append(_table(refined, "refined.csv"))
        lines += [f"refined by HMC: {chains} (largest r̂ {worst:.3f})"]
    return Result(record=record, tables=tables, lines=[line for line in lines if line], made=made)


def _table(frame: Any, rest: str) -> Fitted:
    """The first rows of a summary; of its columns the last ones are left out first."""
    head = frame.head(12)
    names = [str(name) for name in head.index]
    ranks = {c: 0 if c in ("mean", "r_hat") else rank for rank, c in enumerate(head)}
    columns = [Column(str(c), [number(v) for v in head[c]], rank) for c, rank in ranks.items()]
    return Fitted([Column("", names), *columns], rest)
