"""`ppl-vae evaluate`: ELBO, importance-weighted evidence, KL per latent, active units, k̂ on held-out data, and more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ppl_vae.cli.artifacts import save_figures
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.open_run import opened, part, replaced
from ppl_vae.cli.output import Result
from ppl_vae.cli.progress import attempt, bar
from ppl_vae.config.schema import near
from ppl_vae.core.data import as_pair_takes
from ppl_vae.errors import DataError, UsageError
from ppl_vae.runs.files import to_json, write_atomically
from ppl_vae.runs.tables import to_csv

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ppl_vae.core.pair import VAE
    from ppl_vae.datasets import Split
    from ppl_vae.runs.run import Run


@dataclass
class Score:
    """The finding of one of them."""

    summary: dict[str, Any]
    table: Any = None
    figures: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path, name: str) -> None:
        """Write `NAME.json`, and `NAME.csv` where there is a table."""
        write_atomically(folder / f"{name}.json", to_json(self.summary) + "\n")
        if self.table is not None:
            write_atomically(folder / f"{name}.csv", to_csv(self.table))


Function = Callable[["Run", "VAE", "Split", "DictConfig"], Score]


def ais(run: Run, vae: VAE, split: Split, cfg: DictConfig) -> Score:
    """Evidence by annealing, and how far its bracket is on simulated data."""
    from ppl_vae.cli.open_run import conditions
    from ppl_vae.diagnostics import ais, bracket

    with bar("annealing") as progress:
        table = ais(vae, split[: cfg.data], seed=cfg.seed, progress=progress)
    known = bracket(vae, min(cfg.data, 20), like=conditions(run), seed=cfg.seed)
    n = len(table)
    summary = {
        "nll": -float(table["log_evidence"].mean()),
        "nll_se": float((table["log_evidence_se"] ** 2).sum() ** 0.5) / n,
        "acceptance": float(table["acceptance"].mean()),
        "bracket": float(known["gap"].mean()),
        "n": n,
    }
    return Score(summary, table)


def gaps(run: Run, vae: VAE, split: Split, cfg: DictConfig) -> Score:
    """Approximation and amortization gap."""
    from ppl_vae.diagnostics import gaps
    from ppl_vae.plots import gaps as figure

    with bar("gaps") as progress:
        table = gaps(vae, split[: cfg.data], seed=cfg.seed, progress=progress)
    summary = {k: float(table[k].mean()) for k in ("approximation", "amortization")} | {"n": len(table)}
    return Score(summary, table, {"gaps": figure(table)})


def latents(run: Run, vae: VAE, split: Split, cfg: DictConfig) -> Score:
    """Information per unit, and the aggregate posterior against the prior."""
    from ppl_vae.diagnostics.aggregate import JOINT, aggregate
    from ppl_vae.plots import information

    table = aggregate(vae, split, seed=cfg.seed)
    if table.empty:
        raise DataError("scores=latents: no latent has a guide of independent Normals and one prior; leave it out")
    joint = table[table["unit"] == JOINT].set_index("site")
    summary = {
        f"{key}_{site}": float(row[key]) for site, row in joint.iterrows() for key in ("information", "marginal_kl")
    }
    return Score(summary, table.set_index("site"), {"information": information(table)})


def probe(run: Run, vae: VAE, split: Split, cfg: DictConfig) -> Score:
    """The accuracy of a linear reader of the labels in the codes."""
    from ppl_vae.diagnostics.latents import all_codes
    from ppl_vae.diagnostics.probe import linear_probe

    if split.labels is None:
        raise DataError(f"scores=probe: the data of {run} have no labels; leave it out")
    return Score(linear_probe(all_codes(vae, split, seed=cfg.seed), split.labels.cpu().numpy(), seed=cfg.seed))


def disentanglement(run: Run, vae: VAE, split: Split, cfg: DictConfig) -> Score:
    """MIG, SAP, DCI, FactorVAE score, modularity."""
    from ppl_vae.diagnostics.disentanglement import disentanglement
    from ppl_vae.diagnostics.latents import all_codes

    if split.factors is None:
        raise DataError(f"scores=disentanglement: the data of {run} have no known factors (dataset=sprites has)")
    return Score(disentanglement(all_codes(vae, split, seed=cfg.seed), split.factors.cpu().numpy(), seed=cfg.seed))


def samples(run: Run, vae: VAE, split: Split, cfg: DictConfig) -> Score:
    """Precision, recall, density, coverage, Fréchet distance of new data, in the space that `features` names."""
    import numpy as np

    from ppl_vae.core.generate import generate, of_data
    from ppl_vae.diagnostics.sample_quality import sample_quality

    some = split[:2_000]
    batch = as_pair_takes(some.batch(), vae)
    new = generate(vae, len(some), like=batch, seed=cfg.seed)
    x = batch[0].cpu()
    fake = of_data(new, x) if isinstance(new, dict) else new
    real, made = (_features(run, vae, part, cfg) for part in (x, fake))
    if not (np.isfinite(real).all() and np.isfinite(made).all()):
        raise DataError(
            "scores=samples: distances need all values; data with missing ones, or sequences of several lengths, "
            "lack some; leave it out (scores=[checks])"
        )
    return Score({"features": cfg.features, "n": len(some), **sample_quality(real, made)})


def _features(run: Run, vae: VAE, x: Any, cfg: DictConfig) -> Any:
    from ppl_vae.core.half import array_of

    if cfg.features == "pixels":
        return array_of(x.flatten(1))
    if cfg.features == "encoder":
        from ppl_vae.diagnostics.latents import all_codes

        return all_codes(vae, x, seed=cfg.seed)
    import torch

    from ppl_vae.config.locate import locate

    with run.user_code(), torch.no_grad():
        found = locate(cfg.features, "features", trusted=True)  # typed
        made = found().eval() if isinstance(found, type) and issubclass(found, torch.nn.Module) else found
        return array_of(torch.as_tensor(made(x)).flatten(1))


def checks(run: Run, vae: VAE, split: Split, cfg: DictConfig) -> Score:
    """Posterior predictive checks and LOO-PIT, for the statistics that are named."""
    import numpy as np

    from ppl_vae.config.locate import locate
    from ppl_vae.diagnostics.predictive_checks import predictive_checks
    from ppl_vae.plots import calibration

    with run.user_code():
        typed = (cfg.statistics or {}).items()
        named = {k: locate(v, f"statistics.{k}", trusted=True) for k, v in typed} or None
    with bar("checks") as progress:
        found = predictive_checks(vae, split[:1_000], named, seed=cfg.seed, progress=progress)
    summary = {f"{name}_{k}": float(row[k]) for name, row in found.table.iterrows() for k in ("posterior_p", "pit_p")}
    ranks = np.stack(list(found.pit.values()), axis=1)
    figure = calibration(
        ranks, ", ".join(found.pit), place="rank of T(x) among those of new data (LOO-PIT)", names=[*found.pit]
    )
    return Score(summary, found.table, {"checks": figure})


SCORES: dict[str, Function] = {
    "latents": latents,
    "probe": probe,
    "disentanglement": disentanglement,
    "samples": samples,
    "checks": checks,
}


def requested_scores(cfg: DictConfig) -> dict[str, Function]:
    """The scores that the config asks for.

    Raises:
        UsageError: for an unknown name.
    """
    if cfg.evidence not in ("importance", "ais"):
        raise UsageError(f"evidence: got {cfg.evidence!r}, {near(cfg.evidence, ['importance', 'ais'])}")
    found: dict[str, Function] = {"ais": ais} if cfg.evidence == "ais" else {}
    if cfg.gaps:
        found["gaps"] = gaps
    for name in cfg.scores:
        if name not in SCORES:
            raise UsageError(f"scores: got {name!r}; {near(name, SCORES)}")
        found[name] = SCORES[name]
    return found


def run(cfg: DictConfig, context: Context) -> Result:
    """Evaluate one part of a run's data and keep the tables in `DIR/evaluation/PART`."""
    from ppl_vae.diagnostics.evaluate import evaluate
    from ppl_vae.plots import pareto_k_histogram

    further = requested_scores(cfg)
    run, vae = opened(cfg, context)
    split = part(run, cfg.split.name)
    with bar("evidence") as progress:
        evaluation = evaluate(vae, split, cfg.num_particles, seed=cfg.seed, progress=progress)
    folder = evaluation.save(run.directory / "evaluation" / cfg.split.name)
    if evaluation.table["pareto_k"].notna().any():
        with attempt("evaluate", "figure of k̂"):
            save_figures(run.directory, {"pareto_k": pareto_k_histogram(evaluation.table["pareto_k"])})
    record = {"run": str(run), "split": cfg.split.name, **evaluation.summary}
    if warning := replaced(run, cfg.split.name):
        record["warning"] = warning
    lines = [f"{run.directory.name}, {cfg.split.name} data (nats per datum)", str(evaluation)]
    for name, function in further.items():
        score = function(run, vae, split, cfg)
        if name == "ais":  # beside what importance sampling says of the same data
            score.summary["nll_importance"] = float(evaluation.table["nll"][: cfg.data].mean())
        score.save(folder, name)
        with attempt("evaluate", f"figure of {name}"):
            save_figures(run.directory, score.figures)
        record[name] = score.summary
        numbers = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in score.summary.items())
        lines.append(f"{name}: {', '.join(numbers)}")
    return Result(record=record, lines=[*lines, f"tables: {folder}"], value=evaluation.summary["nll"], made=[folder])
