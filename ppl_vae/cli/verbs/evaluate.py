"""`ppl-vae evaluate`: ELBO, importance-weighted evidence, KL per latent, active units, k̂ on held-out data."""

from __future__ import annotations

from omegaconf import DictConfig

from ppl_vae.cli.job import Context
from ppl_vae.cli.on_run import opened, part
from ppl_vae.cli.output import Result


def run(cfg: DictConfig, context: Context) -> Result:
    """Evaluate one part of a run's data and keep the tables in `DIR/evaluation/PART`."""
    from ppl_vae.diagnostics.evaluation import evaluate

    run, vae = opened(cfg)
    evaluation = evaluate(vae, part(run, cfg.split.name), cfg.num_particles, seed=cfg.seed)
    folder = evaluation.save(run.directory / "evaluation" / cfg.split.name)
    record = {"run": str(run), "split": cfg.split.name, **evaluation.summary}
    title = f"{run.directory.name}, {cfg.split.name} data (nats per datum)"
    return Result(record=record, lines=[title, str(evaluation), f"tables: {folder}"], value=evaluation.summary["nll"])
