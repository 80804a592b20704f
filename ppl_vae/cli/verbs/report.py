"""`ppl-vae report`: one self-contained HTML page about a run."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from ppl_vae import files
from ppl_vae.cli.artifacts import (
    calibration_ranks,
    evaluated_units,
    further_figures,
    further_results,
    latest_evaluation,
    save_figures,
)
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.open_run import opened, tell_replaced
from ppl_vae.cli.output import Result
from ppl_vae.cli.progress import attempt, warn
from ppl_vae.errors import PplVaeError
from ppl_vae.files import manifest
from ppl_vae.runs.recorder import ERROR, WEIGHTS
from ppl_vae.runs.run import Run
from ppl_vae.runs.tables import read_csv


def run(cfg: DictConfig, context: Context) -> Result:
    """Write `DIR/report.html`; what the run has not got is answered there with the command that makes it."""
    from ppl_vae.reports.html import write_report

    run = Run.load(cfg.run, trust=cfg.trust)
    figures: dict[str, Any] = {}
    notes: dict[str, str] = {}
    evaluation, table, units, posterior = None, None, None, None
    with attempt("report", "evaluation"):
        evaluation, table = latest_evaluation(run)
        units = evaluated_units(run)
    hard: list[Any] = []
    if files.is_there(run.directory / WEIGHTS):
        from ppl_vae.plots.of_pair import gallery
        from ppl_vae.reports.hardest import hardest

        run, vae = opened(cfg, context)
        try:
            data = run.data
        except PplVaeError as reason:  # a page without pictures is better than none
            notes = dict.fromkeys(("samples", "reconstructions", "latents"), f"The data cannot be read: {reason}")
        else:
            part = next(name for name in ("test", "validation", "train") if len(data.splits[name]))
            tell_replaced(run, part, data)
            split = data.splits[part]
            with attempt("report", "figures"):
                pictures = gallery(vae, split, run.spec, seed=cfg.seed)
                figures, notes = pictures.figures, pictures.notes
                for name in pictures.failed:
                    warn(f"ppl-vae report: no {name.replace('_', ' ')}: {notes[name]}")
                save_figures(run.directory, figures)
            if evaluation is not None and table is not None:
                with attempt("report", "hardest data"):
                    hard = hardest(vae, data.splits[evaluation["split"]], table, run.spec, seed=cfg.seed)
    if gone := manifest.gone(run.directory):
        warn(f"ppl-vae report: not there any more, and left out: {', '.join(gone)}")
    further: dict[str, dict[str, Any]] = {}
    with attempt("report", "further scores"):
        further = further_results(run)
    ranks: dict[str, Any] = {}
    with attempt("report", "ranks"):
        ranks = calibration_ranks(run)
    with attempt("report", "further figures"):
        figures |= {k: v for k, v in further_figures(run).items() if not (ranks and k.startswith("calibration_"))}
    summary = run.directory / "posterior.csv"
    if files.is_there(summary):
        with attempt("report", "posterior"):
            posterior = read_csv(summary)
    record = run.record
    error = run.directory / ERROR
    path = write_report(
        run.directory / "report.html",
        title=str(run.plain_config.get("name", run.directory.name)),
        subtitle=run.directory.name,
        run=run.directory,
        status=run.status,
        error=files.read(error).decode("utf-8", "replace") if files.is_there(error) else str(record.get("error") or ""),
        config=run.plain_config,
        result=run.result,
        rows=run.metrics.to_dict("records"),
        figures=figures,
        evaluation=evaluation,
        table=table,
        units=units,
        hardest=hard,
        diagnostics=further,
        ranks=ranks,
        posterior=posterior,
        environment=record,
        notes=notes,
    )
    return Result(record={"run": str(run), "report": str(path)}, lines=[f"report: {path}"], made=[path])
