"""`ppl-vae check`: the linter for a pair."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from ppl_vae.cli.hydra import Context
from ppl_vae.cli.open_run import pair_of
from ppl_vae.cli.output import Result


def run(cfg: DictConfig, context: Context) -> Result:
    """Say what was found out about a pair; findings that forbid training are the error."""
    from ppl_vae.linter import check

    pair = pair_of(cfg, context)
    report = check(pair.vae, pair.batch, pair.objective, total=len(pair.data.train))
    record: dict[str, Any] = {
        "ok": True,
        "data_plates": list(report.data_plates),
        "estimators": {site: list(told) for site, told in report.estimators.items()},
        "warnings": [str(w) for w in report.warnings],
    }
    return Result(record=record, lines=[str(report)])
