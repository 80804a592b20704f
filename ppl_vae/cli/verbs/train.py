"""`ppl-vae train`: from a composed config to a run directory with trained weights, results and figures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ppl_vae.cli import messages
from ppl_vae.cli.assemble import assemble
from ppl_vae.cli.finish import finish, next_command
from ppl_vae.cli.job import Context
from ppl_vae.cli.output import Result
from ppl_vae.errors import NonFiniteError, PplVaeError, RunError
from ppl_vae.recording import METRICS, Recorder
from ppl_vae.targets import build


def run(cfg: DictConfig, context: Context) -> Result:
    """Train as the config says, or go on with `resume=DIR`.

    A refusal (data, values, a pair that does not fit) before anything was trained leaves nothing behind; a failure in
    users' code leaves its traceback, and in a sweep every job keeps a `run.json`.
    """
    return recorded(lambda recorder: _train(cfg, context, recorder), context, resume=cfg.resume is not None)


def recorded(work: Callable[[Recorder], Result], context: Context, *, resume: bool = False) -> Result:
    """Do work in the job's own run directory, and say there how it ended."""
    here = Path.cwd()
    if context.directory == here and not resume and any(here.iterdir()):
        raise RunError(f"hydra.run.dir: got the working directory, which is not empty, expected a new folder in {here}")
    with Recorder(context.directory, resume=resume) as recorder:
        try:
            return work(recorder)
        except (Exception, SystemExit) as error:  # users' code may call sys.exit
            if resume and not recorder.began:
                pass  # what was there before stays as it was
            elif context.in_sweep or resume or not _refused(error, context.directory):
                recorder.failed(error, messages.message(error))
            else:
                recorder.discard()
            raise


def _refused(error: BaseException, directory: Path) -> bool:
    """Whether nothing had been trained and the fault lies in what was asked, not in code that ran."""
    metrics = directory / METRICS
    if isinstance(error, NonFiniteError) or (metrics.exists() and metrics.stat().st_size):
        return False
    return isinstance(error, PplVaeError) or messages.user_frame(error) is None


def _train(cfg: DictConfig, context: Context, recorder: Recorder) -> Result:
    made = assemble(cfg, context)
    config = made.config

    from ppl_vae.diagnostics.collapse import CollapseAlarm
    from ppl_vae.training import fit

    optimizer = _optimizer(config["optimizer"])
    scheduler = build("scheduler", config["scheduler"]) if config["scheduler"] else None
    recorder.start(made.saved, **made.facts)
    watched = made.data.validation if len(made.data.validation) else made.data.train
    tracker = None
    if config["logger"]:
        tracker = build("logger", config["logger"], directory=context.directory, config=made.saved)
    try:
        history = fit(
            made.vae,
            made.data,
            made.objective,
            optimizer,
            scheduler,
            **config["trainer"],
            seed=cfg.seed,
            directory=context.directory,
            resume=cfg.resume is not None,
            callbacks=[CollapseAlarm(made.vae, watched), *([tracker] if tracker else [])],
        )
    except KeyboardInterrupt:
        print(f"interrupted; go on with: {next_command('train', resume=context.directory)}", file=sys.stderr)
        raise
    finally:
        if tracker is not None:
            tracker.close()
    result = finish(made.vae, made.data, history, cfg, context.directory)
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
            raise PplVaeError(f"optimizer={node['_target_']}: {error}; check the keys optimizer.*") from None
    return factory
