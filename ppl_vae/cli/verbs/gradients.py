"""`ppl-vae gradients`: gradient estimators measured against one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ppl_vae import files
from ppl_vae.cli.artifacts import save_figures
from ppl_vae.cli.fitted import Column, Fitted
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.open_run import pair_of
from ppl_vae.cli.output import Result
from ppl_vae.cli.progress import attempt
from ppl_vae.cli.verbs.train import recorded
from ppl_vae.runs.files import write_atomically
from ppl_vae.runs.recorder import RunWriter
from ppl_vae.runs.tables import to_csv


def run(cfg: DictConfig, context: Context) -> Result:
    """Measure on one batch: of a trained run, into its folder, or of a pair as it starts, into a folder of its own."""
    if cfg.run is not None:
        return _measure(cfg, context, None)
    return recorded(lambda recorder: _measure(cfg, context, recorder), context)


def _measure(cfg: DictConfig, context: Context, recorder: RunWriter | None) -> Result:
    from ppl_vae.diagnostics import gradients

    pair = pair_of(cfg, context)
    directory = pair.directory or context.directory
    if recorder is not None:
        recorder.start(pair.saved, **pair.facts)
    report = gradients(pair.vae, pair.batch, objective=pair.objective, samples=cfg.samples, seed=cfg.seed)
    folder = files.folder(Path(directory) / "gradients")
    write_atomically(folder / "table.csv", to_csv(report.table, index=False))
    pictures = []
    if cfg.figures:
        from ppl_vae.plots import gradient_variances

        with attempt("gradients", "figure"):
            pictures = save_figures(directory, {"gradients": gradient_variances(report.table)})
    result = {"reference": report.reference, "samples": report.samples, "recommendation": report.recommendation}
    if recorder is not None:
        recorder.end("finished", result=result)
    record = {"run": str(directory), **result, "table": report.table.to_dict("records"), "figures": pictures}
    table = Fitted([Column(c, _cells(report.table[c]), RANKS.get(c, 0)) for c in report.table], "gradients/table.csv")
    told = f"{report.samples} gradients each; bias against {report.reference!r}. {report.recommendation}"
    lines = [told, f"table: {folder / 'table.csv'}", *(f"figure: {p}" for p in pictures)]
    return Result(record=record, tables=[table], lines=lines, made=[folder / "table.csv"])


RANKS = {"snr": 1, "bias_z": 2, "cost": 3, "seconds": 4, "variance": 5, "bias": 6, "bias_se": 7}
"""Columns of the table by how soon they are left out where there is no room, the last first."""


def _cells(values: Any) -> list[str]:
    return [f"{value:.3g}" if isinstance(value, float) else str(value) for value in values]
