"""`ppl-vae train`."""

from __future__ import annotations

from omegaconf import DictConfig

from ppl_vae.cli.job import Context
from ppl_vae.cli.output import Result


def run(cfg: DictConfig, context: Context) -> Result:
    """Train."""
    print("train", cfg)
    return Result(record={"run": str(context.directory)}, lines=[f"run {context.directory}"], value=1.0)
