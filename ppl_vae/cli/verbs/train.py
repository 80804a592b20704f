"""`ppl-vae train`: from a composed config to a run directory with trained weights, results and figures."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ppl_vae.cli import messages, ranks, sweep
from ppl_vae.cli.arguments import next_command
from ppl_vae.cli.artifacts import make_posterior, save_figures
from ppl_vae.cli.assemble import Assembled, assemble, called_back, types_logger
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.output import Result
from ppl_vae.cli.parent import begin_with
from ppl_vae.cli.process import reset_process
from ppl_vae.cli.progress import attempt, bar, is_quiet, say, warn
from ppl_vae.cli.resume import MAY_CHANGE, is_done
from ppl_vae.config.targets import build
from ppl_vae.display import View
from ppl_vae.display import figures as shown
from ppl_vae.errors import NonFiniteError, PplVaeError, RunError
from ppl_vae.frames import user_frame
from ppl_vae.imports import unsearched
from ppl_vae.runs import checkpoints
from ppl_vae.runs.loggers import Trackers
from ppl_vae.runs.metrics import rows_of
from ppl_vae.runs.recorder import METRICS, RunWriter, locked, read_record, status_of
from ppl_vae.runs.run import Run, is_run
from ppl_vae.sweeps.plan import key
from ppl_vae.sweeps.stop import Stop, Watch
from ppl_vae.training.history import History

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.datasets import Dataset, Spec, Split
    from ppl_vae.sweeps.lockstep import Outcome


_KEPT = {"best": "best validation weights", "last": "last weights"}
REPORTED = (
    "elbo",
    "nll",
    "nll_se",
    "nll_se_data",
    "reconstruction",
    "kl",
    "active_units",
    "num_units",
    "num_particles",
)


def finish(vae: VAE, data: Dataset, history: History, cfg: DictConfig, directory: Path) -> Result:
    """Evaluate the weights that were kept, make what `results` asks for, and say it all."""
    from ppl_vae.diagnostics import evaluate

    figures, reason = history.result, None
    held_out = data.test if len(data.test) else data.validation
    if len(held_out):
        name = "test" if len(data.test) else "validation"
        particles = cfg.results.num_particles
        say(f"evaluating {len(held_out)} {name} data, {particles} particles each (results.num_particles) …")
        with bar("evaluation") as progress:
            evaluation = evaluate(vae, held_out, particles, seed=cfg.seed, progress=progress)
        evaluation.save(directory / "evaluation" / name)
        reason = evaluation.summary["reason"]
        found = {f"{name}/{k}": evaluation.summary[k] for k in REPORTED}
        figures |= {k: v for k, v in found.items() if k not in figures}  # validation/elbo is what is returned
        artifacts = _make(vae, held_out, data.spec, history, cfg, directory)
    else:
        artifacts = {}
    kept = _KEPT[history.keep if history.is_validated else "last"]
    table = View(f"Results (nats per datum; {kept})", rows=_rows(figures, history))
    return Result(
        record={"run": str(directory), "status": "finished", **figures, "files": artifacts, "result": figures},
        tables=[table.text(whole=True)],
        lines=[
            *([f"no evidence: {reason}"] if reason else []),
            *(f"{name}: {path}" for name, path in artifacts.items()),
            f"run directory: {directory}",
            f"next: {next_command('evaluate', run=directory)}",
        ],
        value=history.loss,
        made=[directory],
    )


def _rows(found: Mapping[str, Any], history: History) -> list[tuple[str, str]]:
    """The figures as the terminal shows them: with their errors, and nothing that there is not."""
    best = f" (best {history.best_epoch})" if history.is_validated else ""
    epochs = ("epochs", f"{len(history)}{best}")
    counts = ("epochs", "best_epoch")
    return [epochs, *((name.replace("/", " "), told) for name, told in shown(found) if not name.endswith(counts))]


def _make(vae: VAE, split: Split, spec: Spec, history: History, cfg: DictConfig, directory: Path) -> dict[str, Path]:
    """Figures and posterior, as far as the config asks for them and the pair allows them.

    Training is done and its weights are kept: a picture that fails is told, and fails no run.
    """
    artifacts: dict[str, Path] = {}
    if cfg.results.figures:
        say("drawing figures …")
        with attempt("train", "figures"), unsearched():  # each is thousands of objects, and there are few of them
            from ppl_vae.plots import learning_curves
            from ppl_vae.plots.of_pair import gallery

            with attempt("train", "learning curves"):
                save_figures(directory, {"learning_curves": learning_curves(history.rows)})
            pictures = gallery(vae, split, spec, seed=cfg.seed)
            for name in pictures.failed:
                warn(f"ppl-vae train: no {name.replace('_', ' ')}: {pictures.notes[name]}")
            save_figures(directory, pictures.figures)
            artifacts["figures"] = directory / "figures"
    if cfg.results.posterior:
        some = split[: cfg.results.data]
        say(f"drawing the posterior of {len(some)} data, {cfg.results.draws} draws each (results.draws) …")
        with attempt("train", "posterior"):
            options = {"draws": cfg.results.draws, "seed": cfg.seed, "figures": False}
            artifacts["posterior"], _ = make_posterior(vae, some, spec, directory, **options)
    return artifacts


def run(cfg: DictConfig, context: Context) -> Result:
    """Train as the config says, or go on with `resume=DIR`.

    A refusal (data, values, a pair that does not fit) before anything was trained leaves nothing behind; a failure in
    users' code leaves its traceback, and in a sweep every job keeps a `run.json`. Of several processes of one run the
    first does all this, and the others train with it.
    """
    with ranks.joined(cfg.engine) as place, _own_code(cfg, context):
        return _run(cfg, context) if place.rank == 0 else _help(cfg, context)


def _own_code(cfg: DictConfig, context: Context) -> contextlib.AbstractContextManager[None]:
    """Modules of a trusted run that is gone on with are found where they were, whichever the working directory."""
    if cfg.resume is None or context.in_sweep:
        return contextlib.nullcontext()
    return Run.load(cfg.resume, trust=cfg.trust).user_code()


def _help(cfg: DictConfig, context: Context) -> Result:
    """Train with the first process, and write nothing."""
    from ppl_vae.training import fit

    group = ranks.group(cfg.engine)
    with group.agreed():
        pass  # the first one has its data
    with group.agreed():
        arguments = _arguments(cfg, assemble(cfg, context))
    fit(**{**arguments, "progress": False}, directory=context.directory, resume=_resumes(cfg, context))
    return Result()


def _assembled(cfg: DictConfig, context: Context, loaded: dict[str, Dataset] | None = None) -> Assembled:
    """All that the config describes: of several processes the first one makes it first, and downloads what is to be."""
    group = ranks.group(cfg.engine)
    with group.agreed():
        made = assemble(cfg, context, loaded)
    with group.agreed():
        return made


def _run(cfg: DictConfig, context: Context) -> Result:
    begun: Begun | None = context.begun
    resume = _resumes(cfg, context)
    watch = sweep.watch(context.directory, context.number, cfg.trainer.epochs)
    if begun is not None:
        begun.taken = True
        work = partial(_train, cfg, context, watch=watch, begun=begun)
        return recorded(work, context, resume=resume, recorder=begun.recorder)
    if context.resumed and (ended := _ended(cfg, context)) is not None:
        return ended
    return recorded(partial(_train, cfg, context, watch=watch), context, resume=resume)


def _resumes(cfg: DictConfig, context: Context) -> bool:
    return cfg.resume is not None or context.resumed


def _ended(cfg: DictConfig, context: Context) -> Result | None:
    """A sentence on a job of a resumed sweep where there is nothing left to do here; else None."""
    assert context.number is not None
    directory, say_beginning = context.directory, partial(sweep.say_beginning, context.directory, context.number)
    if locked(directory):
        say_beginning("another process trains it")
        return Result(record={"run": str(directory), "status": "running"}, made=[directory])
    if not is_run(directory):
        say_beginning()
        return None
    record = read_record(directory)
    if is_done(directory, record, cfg.trainer.epochs) or record["status"] == "pruned":
        say_beginning(f"{record['status']} already")
        result = dict(record.get("result") or {})
        elbo = result.get("validation/elbo")
        return Result(
            record={"run": str(directory), "status": record["status"], **result},
            value=None if elbo is None else -elbo,
            made=[directory],
        )
    goes_on = checkpoints.are_there(directory)
    say_beginning(f"{status_of(directory)}, goes on" if goes_on else f"{status_of(directory)}, begins again")
    return None


def recorded(
    work: Callable[[RunWriter], Result], context: Context, *, resume: bool = False, recorder: RunWriter | None = None
) -> Result:
    """Do work in the job's own run directory, which may be held already, and say there how it ended."""
    here = Path.cwd()
    if context.directory == here and not resume and any(here.iterdir()):
        raise RunError(f"hydra.run.dir: got the working directory, which is not empty, expected a new folder in {here}")
    with recorder or RunWriter(context.directory, resume=resume) as recorder:
        before = recorder.record
        try:
            return work(recorder)
        except (Exception, SystemExit) as error:  # users' code may call sys.exit
            refused = _refused(error, context.directory)
            lost = context.in_sweep and before.get("status") == "failed"  # and nothing is, by the latest error
            if before and not recorder.began and not lost:
                pass  # what was there before stays as it was
            elif context.in_sweep or resume or not refused:
                facts = {k: v for k, v in context.facts.items() if k not in before}
                facts |= {"exit_code": messages.exit_code(error)} | ({"refused": True} if refused else {})
                recorder.failed(error, messages.message(error), **facts)
            else:
                recorder.discard()
            raise


def _refused(error: BaseException, directory: Path) -> bool:
    """True if nothing had been trained and the fault lies in what was asked, not in code that ran."""
    metrics = directory / METRICS
    if isinstance(error, NonFiniteError) or (metrics.exists() and metrics.stat().st_size):
        return False
    return isinstance(error, PplVaeError) or user_frame(error) is None


@dataclass
class Begun:
    """A run that has begun: all is made, and nothing trained.

    Attributes:
        cfg: its config, held to the schema.
        made: what its config describes.
        arguments: those of `fit`.
        recorder: of its directory, which it holds.
        trackers: what its metrics are told to.
        number: of the job in its sweep.
        outcome: how training went, where that is done before the job's turn.
        taken: whether the job has had its turn.
    """

    cfg: DictConfig
    made: Assembled
    arguments: dict[str, Any]
    recorder: RunWriter
    trackers: Sequence[Any] = ()
    number: int | None = None
    outcome: Outcome | None = None
    taken: bool = False

    def history(self) -> History:
        """Train, where that is not done yet."""
        from ppl_vae.training import fit

        if self.outcome is None:
            return fit(**self.arguments)
        if self.outcome.error is not None:
            raise self.outcome.error
        return self.outcome.history


def begun_ahead(cfg: DictConfig, context: Context, loaded: dict[str, Dataset]) -> Begun | None:
    """Begin a job before its turn; None where it is to do all of it in its turn, and to fail there if it must."""
    resume = _resumes(cfg, context)
    if cfg.logger:
        return None  # some trackers follow one run at a time
    if resume and is_run(context.directory):
        record = {} if locked(context.directory) else read_record(context.directory)
        if not record or is_done(context.directory, record, cfg.trainer.epochs) or record["status"] == "pruned":
            return None
    watch = sweep.watch(context.directory, context.number, cfg.trainer.epochs)
    try:
        recorder = RunWriter(context.directory, resume=resume)
    except RunError:
        return None
    was_there = bool(recorder.record)
    try:
        return _begin(cfg, context, recorder, watch, loaded)
    except BaseException as error:
        if was_there:
            recorder.release()
        else:
            recorder.discard()
        if isinstance(error, (Exception, SystemExit)):
            return None
        raise


def _begin(
    cfg: DictConfig,
    context: Context,
    recorder: RunWriter,
    watch: Watch | None,
    loaded: dict[str, Dataset] | None = None,
) -> Begun:
    if watch is not None:
        watch.begin(context.directory)
    made = _assembled(cfg, context, loaded)

    from ppl_vae.diagnostics.collapse import CollapseAlarm

    arguments = _arguments(cfg, made)
    if cfg.init is not None and not (_resumes(cfg, context) and checkpoints.are_there(context.directory)):
        made.facts.update(begin_with(made.vae, made.data, cfg.init, made.saved))
        made.saved["init"] = made.facts["parent"]["run"]
    recorder.start(made.saved, sealed=made.trusted, **_told(made.facts, recorder.record, context))
    watched = made.data.validation if len(made.data.validation) else made.data.train
    trackers = []
    if made.config["logger"]:
        own = made.trusted or types_logger(context)
        given = {"directory": context.directory, "config": made.saved}
        trackers.append(build("logger", made.config["logger"], trusted=own, **given))
    given = {"vae": made.vae, "data": made.data, "directory": context.directory}
    own_callbacks = called_back(made.config["callbacks"], trusted=made.trusted, **given)
    arguments |= {
        "directory": recorder,
        "resume": _resumes(cfg, context),
        "callbacks": [CollapseAlarm(made.vae, watched), *own_callbacks, *trackers, *([] if watch is None else [watch])],
    }
    return Begun(cfg, made, arguments, recorder, trackers, context.number)


def _arguments(cfg: DictConfig, made: Assembled) -> dict[str, Any]:
    """The arguments of `fit` that the config says, but for files and callbacks."""
    config = made.config
    return {
        "vae": made.vae,
        "data": made.data,
        "objective": made.objective,
        "optimizer": _optimizer(config["optimizer"], made.trusted),
        "scheduler": build("scheduler", config["scheduler"], trusted=made.trusted) if config["scheduler"] else None,
        **config["trainer"],
        "seed": cfg.seed,
        "distributed": cfg.engine.distributed,
        "progress": "warnings" if is_quiet() else None,
    }


def _train(
    cfg: DictConfig, context: Context, recorder: RunWriter, watch: Watch | None = None, begun: Begun | None = None
) -> Result:
    if begun is None:
        try:
            begun = _begin(cfg, context, recorder, watch)
        except Stop as stop:
            return _stopped(stop, cfg, context, recorder)
    else:
        engine = (ranks.device_of(cfg.engine), cfg.engine.threads, context.worker)
        reset_process(cfg.seed, *engine)  # as `assemble` leaves it
    with Trackers(*begun.trackers) as told:
        try:
            history = begun.history()
        except Stop as stop:
            result = _stopped(stop, cfg, context, recorder)
            told.status, told.result = stop.status, recorder.record.get("result", {})
            return result
        except KeyboardInterrupt:
            print(f"interrupted; go on with: {next_command('train', resume=context.directory)}", file=sys.stderr)
            raise
        try:
            result = finish(begun.made.vae, begun.made.data, history, cfg, context.directory)
        except BaseException as error:
            error.trained = True  # type: ignore[attr-defined]  # other processes of the run have left
            raise
        told.result, told.figures = result.record["result"], sorted((context.directory / "figures").glob("*.png"))
    recorder.end("finished", result=told.result)  # last: a tracker that was not told to the end is told again
    return result


def _stopped(stop: Stop, cfg: DictConfig, context: Context, recorder: RunWriter) -> Result:
    """The end of a job that its search has ended, before it began or after an epoch: what there is is kept."""
    history = History(rows_of(context.directory), keep=cfg.trainer.keep)
    assert context.number is not None
    sweep.say_beginning(context.directory, context.number, stop.why)
    if not recorder.began:
        recorder.start(None, **context.facts)
    result = history.result if stop.status == "pruned" and len(history) else None
    recorder.end(stop.status, result=result)
    record = {"run": str(context.directory), "status": stop.status, **(result or {})}
    return Result(record=record, value=history.loss if len(history) else None, made=[context.directory])


def _told(facts: dict[str, Any], before: dict[str, Any], context: Context) -> dict[str, Any]:
    """Facts for `run.json` of the command; of a run that is gone on with, what it was told first and what changed."""
    if context.in_sweep or "overrides" not in before:  # a job of a sweep is told everything again
        return facts
    changed = [o for o in facts["overrides"] if o.split("=", 1)[0] in MAY_CHANGE or o.startswith("logger.")]
    kept = [o for o in before["overrides"] if key(o) not in {key(c) for c in changed}]
    choices = {g: o for g, o in facts["choices"].items() if g == "logger"}
    return {**facts, "overrides": [*kept, *changed], "choices": {**before.get("choices", {}), **choices}}


def _optimizer(node: dict[str, Any], trusted: bool) -> Any:
    """The optimizer, tried on a parameter: torch checks its options only when it is made."""
    import torch

    factory = build("optimizer", node, trusted=trusted)
    target = getattr(factory, "func", factory)
    if isinstance(target, type) and issubclass(target, torch.optim.Optimizer):
        try:
            with unsearched():  # the first one imports Dynamo
                factory([torch.nn.Parameter(torch.zeros(1))])
        except (ValueError, TypeError) as error:
            raise PplVaeError(f"optimizer={node['_target_']}: {error}; check the keys optimizer.*") from None
    return factory
