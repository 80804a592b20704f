"""`ppl-vae calibrate`: is the guide right on data whose latents are known?"""

from __future__ import annotations

from omegaconf import DictConfig

from ppl_vae.cli.artifacts import save_figures
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.open_run import conditions, opened
from ppl_vae.cli.output import Result
from ppl_vae.cli.progress import attempt, bar


def run(cfg: DictConfig, context: Context) -> Result:
    """Rank the truth among the guide's draws; ranks, coverage and figures go into `DIR/calibration`."""
    from ppl_vae.diagnostics import calibrate

    run, vae = opened(cfg, context)
    with bar("simulations") as progress:
        found = calibrate(vae, cfg.simulations, cfg.draws, like=conditions(run), seed=cfg.seed, progress=progress)
    folder = found.save(run.directory / "calibration")
    pictures = []
    if cfg.figures:
        with attempt("calibrate", "figures"):
            from ppl_vae.diagnostics.calibration import TARP
            from ppl_vae.plots import calibration

            drawn = {
                f"calibration_{name}": calibration(ranks, name) for name, ranks in found.ranks.items() if name != TARP
            }
            if TARP in found.ranks:
                place = "share of draws nearer to the reference point than the truth"
                drawn[f"calibration_{TARP}"] = calibration(found.ranks[TARP], "all units (TARP)", place=place)
            pictures = save_figures(run.directory, drawn)
    record = {"run": str(run), **found.summary, "calibration": folder, "figures": pictures}
    lines = [str(found), f"ranks: {folder}", *(f"figure: {p}" for p in pictures)]
    return Result(record=record, lines=lines, made=[folder])
