"""`ppl-vae prior`: a prior fitted to the codes of a trained pair, and a run of its own that has it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from ppl_vae.cli.arguments import next_command
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.open_run import opened, tell_replaced
from ppl_vae.cli.output import Result
from ppl_vae.cli.parent import parent_of
from ppl_vae.cli.progress import say
from ppl_vae.cli.verbs.train import recorded
from ppl_vae.files import seal
from ppl_vae.runs.files import write_atomically
from ppl_vae.runs.recorder import RECIPE, WEIGHTS, RunWriter

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.runs.run import Run


def run(cfg: DictConfig, context: Context) -> Result:
    """Fit the prior and write a run directory of the new pair; the run whose codes they are stays as it is."""
    parent, vae = opened(cfg, context)
    return recorded(lambda recorder: _fit(cfg, context, parent, vae, recorder), context)


def _fit(cfg: DictConfig, context: Context, parent: Run, vae: VAE, recorder: RunWriter) -> Result:
    from ppl_vae.codes.prior import fit_prior
    from ppl_vae.runs import reference, state

    data = parent.data.to(vae.device)
    for name in ("train", "validation"):
        tell_replaced(parent, name, data)
    say(f"fitting a prior ({cfg.prior.name}) to the codes of {len(data.train)} data …")
    keys = ("site", "at", "components", "draws", "epochs", "seed")
    fitted = fit_prior(vae, data, cfg.prior.name, **{key: cfg[key] for key in keys})
    told = parent_of(parent)
    saved = {**parent.plain_config, "name": cfg.name, "prior": fitted.target, "prior_at": cfg.at}
    facts = {**context.facts, **told, "seed": cfg.seed, "user_modules": list(parent.modules)}
    recorder.start(saved | {"init": told["parent"]["run"]}, sealed=parent.trusted, **facts)
    if parent.reference is not None:
        reference.save(recorder.directory, parent.reference)
    recipe = {key: parent.recipe[key] for key in ("data",) if key in parent.recipe}
    write_atomically(recorder.directory / RECIPE, seal.sealed_json(json.loads(json.dumps(recipe))), listed=False)
    state.save(recorder.directory / WEIGHTS, fitted.vae.state_dict())
    result = {f"{part}/log_prior": getattr(fitted, part) for part in ("train", "validation")}
    result["validation/log_prior_before"] = fitted.before
    recorder.end("finished", result=result)
    record = {"run": str(context.directory), "site": fitted.site, "prior": fitted.target, **result}
    lines = [
        f"{fitted} (nats per datum)",
        f"run directory: {context.directory}",
        f"next: {next_command('evaluate', run=context.directory)}",
        f"next: {next_command('generate', run=context.directory)}",
    ]
    return Result(record=record | {"tried": fitted.tried}, lines=lines, made=[context.directory])
