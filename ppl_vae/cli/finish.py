"""What `train` does once it has trained: results on held-out data, figures, posterior, and what to type next."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ppl_vae.cli import messages
from ppl_vae.cli.arguments import quoted
from ppl_vae.cli.made import make_posterior, save_figures
from ppl_vae.cli.output import Result, figures_table

if TYPE_CHECKING:
    from ppl_vae.datasets import Dataset, Spec, Split
    from ppl_vae.training import History
    from ppl_vae.vae import VAE

REPORTED = ("elbo", "nll", "nll_se", "reconstruction", "kl", "active_units", "num_units", "num_particles")


def finish(vae: VAE, data: Dataset, history: History, cfg: DictConfig, directory: Path) -> Result:
    """Evaluate the best weights, make what `results` asks for, and say it all."""
    from ppl_vae.diagnostics import evaluate

    best = history.best or {}
    figures: dict[str, Any] = {"epochs": len(history), "best_epoch": history.best_epoch}
    figures |= {k: v for k, v in best.items() if k.startswith("validation/") or k == "train/bound"}
    held_out = data.test if len(data.test) else data.validation
    if len(held_out):
        name = "test" if len(data.test) else "validation"
        evaluation = evaluate(vae, held_out, cfg.results.num_particles, seed=cfg.seed)
        evaluation.save(directory / "evaluation" / name)
        figures |= {f"{name}/{k}": evaluation.summary[k] for k in REPORTED}
        made = _make(vae, held_out, data.spec, history, cfg, directory)
    else:
        made = {}
    rows: dict[str, Any] = {"epochs": f"{len(history)} (best {history.best_epoch})"}
    for key, value in figures.items():
        if key.endswith(("epochs", "best_epoch")):
            continue
        rows[key.replace("/", " ")] = value
    return Result(
        record={"run": str(directory), "status": "finished", **figures, "files": made, "result": figures},
        tables=["Results (nats per datum; best validation weights)", figures_table(rows)],
        lines=[
            *(f"{name}: {path}" for name, path in made.items()),
            f"run directory: {directory}",
            f"next: {next_command('evaluate', run=directory, num_particles=5000)}",
        ],
        value=history.loss,
    )


def _make(vae: VAE, split: Split, spec: Spec, history: History, cfg: DictConfig, directory: Path) -> dict[str, Path]:
    """Figures and posterior, as far as the config asks for them and the pair allows them."""
    made: dict[str, Path] = {}
    if cfg.results.figures:
        with _told("figures"):
            from ppl_vae.reports.figures import learning_curves
            from ppl_vae.reports.gallery import gallery

            pictures = gallery(vae, split, spec, seed=cfg.seed)
            save_figures(directory, {"learning_curves": learning_curves(history.rows), **pictures.figures})
            made["figures"] = directory / "figures"
    if cfg.results.posterior:
        some = split[: cfg.results.data]
        with _told("posterior"):
            options = {"draws": cfg.results.draws, "seed": cfg.seed, "figures": False}
            made["posterior"], _ = make_posterior(vae, some, spec, directory, **options)
    return made


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Training is done and its weights are kept: a picture that fails is told, and fails no run."""
    try:
        yield
    except Exception as error:
        print(f"ppl-vae train: no {what}: {messages.message(error)}", file=sys.stderr)


def next_command(verb: str, **keys: Any) -> str:
    """A command line to copy: paths quoted for Hydra and for the shell."""
    return " ".join(["ppl-vae", verb, *(shlex.quote(quoted(f"{k}={v}")) for k, v in keys.items())])
