"""From a composed config to data, pair and objective, ready to be trained, checked or measured."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ppl_vae.cli.fresh import forget_user_modules, fresh, remember_user_modules
from ppl_vae.cli.groups import checked, user_modules
from ppl_vae.cli.job import Context
from ppl_vae.errors import PplVaeError
from ppl_vae.recording import command
from ppl_vae.targets import build

if TYPE_CHECKING:
    import torch

    from ppl_vae.datasets import Dataset
    from ppl_vae.vae import VAE


@dataclass
class Assembled:
    """What a config describes.

    Attributes:
        config: resolved and checked, plain values.
        saved: what `config.yaml` says: the likelihood named, the spec of the data and where they come from.
        facts: what `run.json` says of the command.
    """

    config: dict[str, Any]
    saved: dict[str, Any]
    facts: dict[str, Any]
    data: Dataset
    vae: VAE
    objective: Any
    device: torch.device


def build_objective(node: dict[str, Any]) -> Any:
    """The objective of a checked config.

    Raises:
        PplVaeError: for one of Pyro's, which takes programs and gives a loss, where ours take a pair and give a bound.
    """
    from pyro.infer.elbo import ELBO

    objective = build("objective", node)
    if isinstance(objective, ELBO):
        raise PplVaeError(
            f"objective._target_: got Pyro's {type(objective).__name__}, expected a function of (vae, batch, total) "
            "that gives a Bound, as those in ppl_vae.objectives are: objective=elbo, elbo_analytic, iwae, renyi, …"
        )
    return objective


def assemble(cfg: DictConfig, context: Context) -> Assembled:
    """Check every key, then build dataset, likelihood, model, guide and objective, in a process made fresh."""
    before = set(sys.modules)
    if context.in_sweep:
        forget_user_modules(Path.cwd())
    config = checked(cfg, context)
    if context.in_sweep:
        remember_user_modules(before)

    from ppl_vae.pair import build_dataset, build_vae, concrete_likelihood

    fresh(cfg.seed, cfg.engine.device)
    data = build_dataset(config)
    likelihood = concrete_likelihood(config["likelihood"], data.spec)
    device = fresh(cfg.seed, cfg.engine.device)  # whatever loading the data drew, the pair starts from the seed
    vae = build_vae(config, data.spec).to(device)
    objective = build_objective(config["objective"])
    saved = {k: v for k, v in config.items() if k not in ("resume", "format", "run")}
    saved |= {"likelihood": likelihood, "spec": data.spec.to_dict(), "provenance": dict(data.provenance)}
    facts = {"verb": context.verb, "seed": cfg.seed, "command": command(), "user_modules": user_modules(config)}
    if context.in_sweep:
        facts["job"] = context.number
    return Assembled(config, saved, facts, data.to(device), vae, objective, device)
