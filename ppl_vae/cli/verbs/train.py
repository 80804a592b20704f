"""`ppl-vae train`: from a composed config to a run directory with trained weights, results and figures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ppl_vae.cli import messages
from ppl_vae.cli.finish import finish, next_command
from ppl_vae.cli.fresh import forget_user_modules, fresh, remember_user_modules
from ppl_vae.cli.groups import checked, user_modules
from ppl_vae.cli.job import Context
from ppl_vae.cli.output import Result
from ppl_vae.errors import NonFiniteError, PplVaeError
from ppl_vae.recording import METRICS, Recorder, command
from ppl_vae.targets import build


def run(cfg: DictConfig, context: Context) -> Result:
    """Train as the config says, or go on with `resume=DIR`.

    A refusal (data, values, a pair that does not fit) before anything was trained leaves nothing behind; a failure in
    users' code leaves its traceback, and in a sweep every job keeps a `run.json`.
    """
    recorder = Recorder(context.directory, resume=cfg.resume is not None)
    with recorder:
        try:
            return _train(cfg, context, recorder)
        except Exception as error:
            if context.in_sweep or not _refused(error, context.directory) or cfg.resume is not None:
                recorder.failed(error, messages.message(error))
            else:
                recorder.discard()
            raise


def _refused(error: Exception, directory: Path) -> bool:
    """Whether nothing had been trained and the fault lies in what was asked, not in code that ran."""
    metrics = directory / METRICS
    if isinstance(error, NonFiniteError) or (metrics.exists() and metrics.stat().st_size):
        return False
    return isinstance(error, PplVaeError) or messages.user_frame(error) is None


def _train(cfg: DictConfig, context: Context, recorder: Recorder) -> Result:
    before = set(sys.modules)
    if context.in_sweep:
        forget_user_modules(Path.cwd())
    config = checked(cfg, context)
    if context.in_sweep:
        remember_user_modules(before)

    from ppl_vae.pair import build_dataset, build_vae, concrete_likelihood
    from ppl_vae.training import fit

    device = fresh(cfg.seed, cfg.engine.device)
    data = build_dataset(config)
    likelihood = concrete_likelihood(config["likelihood"], data.spec)
    fresh(cfg.seed, cfg.engine.device)  # whatever loading the data drew, the pair starts from the seed
    vae = build_vae(config, data.spec).to(device)
    objective = build("objective", config["objective"])
    optimizer = _optimizer(config["optimizer"])
    scheduler = build("scheduler", config["scheduler"]) if config["scheduler"] else None
    saved = {k: v for k, v in config.items() if k not in ("resume", "format")}
    saved |= {"likelihood": likelihood, "spec": data.spec.to_dict(), "provenance": dict(data.provenance)}
    facts = {"seed": cfg.seed, "command": command(), "user_modules": user_modules(config)}
    recorder.start(saved, **facts, **({"job": context.number} if context.in_sweep else {}))
    trainer: dict[str, Any] = config["trainer"]
    tracker = build("logger", config["logger"], directory=context.directory, config=saved) if config["logger"] else None
    try:
        history = fit(
            vae,
            data.to(device),
            objective,
            optimizer,
            scheduler,
            **trainer,
            seed=cfg.seed,
            directory=context.directory,
            resume=cfg.resume is not None,
            callbacks=[tracker] if tracker else [],
        )
    except KeyboardInterrupt:
        print(f"interrupted; go on with: {next_command('train', resume=context.directory)}", file=sys.stderr)
        raise
    finally:
        if tracker is not None:
            tracker.close()
    result = finish(vae, data.to(device), history, cfg, context.directory)
    recorder.end("finished", result=result.record["result"])
    return result


def _optimizer(node: dict[str, Any]) -> Any:
    """The optimizer, tried on a parameter: torch checks its options only when it is made."""
    import torch

    factory = build("optimizer", node)
    target = getattr(factory, "func", factory)
    if isinstance(target, type) and issubclass(target, torch.optim.Optimizer):
        try:
            factory([torch.nn.Parameter(torch.zeros(1))])
        except (ValueError, TypeError) as error:
            said = str(error)
            raise PplVaeError(
                f"optimizer ({node['_target_']}): {said[:1].lower()}{said[1:]}; check optimizer.*"
            ) from None
    return factory
