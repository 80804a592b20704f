"""What `train` does once it has trained: results on held-out data, figures, posterior, and what to type next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ppl_vae.cli.arguments import quoted
from ppl_vae.cli.output import Result, figures_table

if TYPE_CHECKING:
    from ppl_vae.datasets import Dataset
    from ppl_vae.training import History
    from ppl_vae.vae import VAE


def finish(vae: VAE, data: Dataset, history: History, cfg: DictConfig, directory: Path) -> Result:
    """Evaluate the best weights, make what `results` asks for, and say it all."""
    best = history.best or {}
    figures: dict[str, Any] = {"epochs": len(history), "best_epoch": history.best_epoch}
    figures |= {k: v for k, v in best.items() if k.startswith("validation/") or k == "train/bound"}
    rows: dict[str, Any] = {
        "epochs": f"{len(history)} (best {history.best_epoch})",
        **{k.replace("/", " "): v for k, v in figures.items() if isinstance(v, float)},
    }
    record = {"run": str(directory), "status": "finished", "result": figures}
    return Result(
        record=record | figures,
        tables=[figures_table("Results (nats per datum)", rows)],
        lines=[f"run directory: {directory}", f"next: {next_command('evaluate', run=directory)}"],
        value=history.loss,
    )


def next_command(verb: str, **keys: Any) -> str:
    """A command line to copy: paths quoted for Hydra and for the shell."""
    return " ".join(["ppl-vae", verb, *(shlex.quote(quoted(f"{k}={v}")) for k, v in keys.items())])
