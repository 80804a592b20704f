"""`ppl-vae evaluate`: ELBO, importance-weighted evidence, KL per latent, active units, k̂ on held-out data, and more."""

from __future__ import annotations

from omegaconf import DictConfig

from ppl_vae.cli.job import Context
from ppl_vae.cli.made import save_figures
from ppl_vae.cli.on_run import opened, part
from ppl_vae.cli.output import Result
from ppl_vae.cli.progress import bar
from ppl_vae.cli.scores import wanted


def run(cfg: DictConfig, context: Context) -> Result:
    """Evaluate one part of a run's data and keep the tables in `DIR/evaluation/PART`."""
    from ppl_vae.diagnostics.evaluation import evaluate
    from ppl_vae.reports.figures import pareto_k_histogram

    further = wanted(cfg)
    run, vae = opened(cfg)
    split = part(run, cfg.split.name)
    with bar("evidence") as progress:
        evaluation = evaluate(vae, split, cfg.num_particles, seed=cfg.seed, progress=progress)
    folder = evaluation.save(run.directory / "evaluation" / cfg.split.name)
    if evaluation.table["pareto_k"].notna().any():
        save_figures(run.directory, {"pareto_k": pareto_k_histogram(evaluation.table["pareto_k"])})
    record = {"run": str(run), "split": cfg.split.name, **evaluation.summary}
    lines = [f"{run.directory.name}, {cfg.split.name} data (nats per datum)", str(evaluation)]
    for name, function in further.items():
        score = function(run, vae, split, cfg)
        if name == "ais":  # beside what importance sampling says of the same data
            score.summary["nll_importance"] = float(evaluation.table["nll"][: cfg.data].mean())
        score.save(folder, name)
        save_figures(run.directory, score.figures)
        record[name] = score.summary
        numbers = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in score.summary.items())
        lines.append(f"{name}: {', '.join(numbers)}")
    return Result(record=record, lines=[*lines, f"tables: {folder}"], value=evaluation.summary["nll"])
