"""`train resume=DIR`: the run's own config becomes the primary one, with `-m` the sweep's plan; few keys may change."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ppl_vae import files
from ppl_vae.cli.arguments import FALSE, TRUE, Arguments, next_command, quote
from ppl_vae.config.keys import PRINTING, Train
from ppl_vae.config.schema import describe, near
from ppl_vae.config.targets import unlisted
from ppl_vae.errors import DamagedError, RunError, UsageError
from ppl_vae.runs import checkpoints, saved
from ppl_vae.runs.recorder import CHECKPOINT, RECORD, WEIGHTS, locked, read_record
from ppl_vae.runs.run import Run, find
from ppl_vae.sweeps.plan import MULTIRUN, PLAN, Plan, key
from ppl_vae.sweeps.sweep import find as find_sweep

NAME = "resumed_train"
MAY_CHANGE = ("trainer.epochs", *PRINTING, "logger", "engine.distributed")
OF_THE_COMMAND = ("resume", *PRINTING, "trust")
"""Keys that are typed each time: what a saved config says of them counts for nothing."""
ENGINES = {"engine=distributed": "engine.distributed=true", "engine=default": "engine.distributed=false"}
TRIALS = "hydra.sweeper.n_trials"


def prepare(arguments: Arguments) -> bool:
    """Make the command line that of the run: its config, its folder, the keys that may change.

    Returns:
        True while there is anything left to do; a finished run says so.

    Raises:
        UsageError: for any other key.
        RunError: for a folder that is no run, or one in use.
    """
    directory = find(str(arguments.value("resume")), key="resume")
    epochs = _epochs(arguments)
    arguments.overrides[:] = [ENGINES.get(o, o) for o in arguments.overrides]  # on how many processes is free
    typed = [o for o in arguments.overrides if o.split("=", 1)[0].lstrip("+~") != "resume"]
    for override in typed:
        key = override.split("=", 1)[0]
        if key.lstrip("+~") != "trust" and key not in MAY_CHANGE and not key.startswith("logger."):
            raise UsageError(
                f"{key.lstrip('+~')} cannot change on resume, the run keeps its own config; "
                f"{near(key, MAY_CHANGE)} (for another setting start a new run)"
            )
    record = read_record(directory)
    if (verb := record.get("verb", "train")) == "fit":
        raise RunError(
            f"resume={directory}: this is a run of pv.fit, which no command can make again; go on with it in Python, "
            "by the same call with resume=True"
        )
    if verb != "train":
        raise RunError(f"resume={directory}: this is a run of ppl-vae {verb}, expected one of ppl-vae train")
    values = saved.read(directory, record).values
    logger = arguments.value("logger")
    if not _trust(arguments):
        _refuse_unlisted(Run(directory), but=OF_THE_COMMAND if logger is None else (*OF_THE_COMMAND, "logger"))
    config = {k: v for k, v in values.items() if k not in OF_THE_COMMAND}
    if is_done(directory, record, epochs) and not arguments.asks_only:
        if locked(directory):
            raise RunError(f"{directory} is being trained by another process; wait for it, or stop it first")
        _mend(directory)
        _say_finished(directory, record, arguments)
        return False
    if not arguments.asks_only and record["status"] != "running" and not checkpoints.are_there(directory):
        print(f"{directory / CHECKPOINT} is not there: training starts again from epoch 1", file=sys.stderr)
    defaults: list[Any] = ["train_schema", "_self_"]
    if logger is not None:
        config.pop("logger", None)
        defaults.append({"logger": logger})
        typed = [o for o in typed if not o.startswith("logger=")]
    hydra = ("output: train", "help: verb", "job_logging: stderr", "hydra_logging: stderr")
    defaults += [{f"override hydra/{k}": v} for k, v in (h.split(": ") for h in hydra)]
    node = {
        "defaults": defaults,
        **{k: v for k, v in config.items() if k in describe(Train)},
        "resume": str(directory),
        "hydra": {"output_subdir": None, "job": {"name": "train", "chdir": False}},
    }
    if "${" in str(directory):
        raise UsageError(f"resume={directory}: Hydra reads ${{ in the name of a folder as a reference; rename it")
    ConfigStore.instance().store(name=NAME, node=OmegaConf.create(node), provider="ppl_vae")
    arguments.overrides[:] = [*typed, f"hydra.run.dir={quote(str(directory))}"]
    return True


def _trust(arguments: Arguments) -> bool:
    """The value of `trust=`, as OmegaConf reads it."""
    value = (arguments.value("trust") or "false").lower()
    if value not in (*TRUE, *FALSE):
        raise UsageError(f"trust: got {value!r}, expected true or false")
    return value in TRUE


def _refuse_unlisted(run: Run, but: Collection[str]) -> None:
    """Refuse a run that was not made here and names more than what is listed, before Hydra is given its config."""
    if not run.saved.why:
        return
    groups = [key for key in run.saved.values if key not in but]
    if named := [name for key in groups for name in unlisted(run.saved.values[key], key)]:
        raise RunError(run.refusal(f"it names {named[0][1]}", *groups))


def prepare_sweep(arguments: Arguments) -> Plan:
    """Make the command line that of the sweep: its plan, its folder, the keys that may change.

    Returns:
        The plan, with what changes in it; jobs are not looked at, each decides for itself what is left to do.

    Raises:
        UsageError: for any other key, or another value than the plan's.
        RunError: for a folder that is no sweep, or one without a plan.
    """
    directory = find_sweep(str(arguments.value("resume")), key="resume")
    plan = Plan.read(directory)
    if plan is None or not (plan.jobs or plan.search):
        raise RunError(
            f"resume={directory}: no plan of a sweep is there ({PLAN}), so that nobody knows its jobs; resume its runs "
            f"one by one: {next_command('train', resume=directory / 'N')}"
        )
    note = PLAN if (directory / PLAN).exists() else MULTIRUN
    if note == MULTIRUN and not any(directory.rglob(RECORD)):
        raise RunError(
            f"resume={directory}: nothing was started there, and all that is there is Hydra's note of a sweep "
            f"({MULTIRUN}). Give its command again"
        )
    if plan.why and not _trust(arguments):
        raise RunError(
            f"resume={directory}: this sweep is not known to be made here ({plan.why}), and to go on with it runs what "
            f"{note} says: its command line, options of Hydra, modules of {plan.started_in or 'its folder'}. Read it; "
            "where you trust it, add trust=true"
        )
    if plan.verb != "train":
        raise RunError(f"resume={directory}: this is a sweep of ppl-vae {plan.verb}, expected one of ppl-vae train")
    _epochs(arguments)
    planned = {key(o): o for o in (*plan.overrides, *plan.hydra)}  # the last of a key counts
    changed, hydra = [], []
    may_change = [name for name in MAY_CHANGE if not (plan.search and name == "trainer.epochs")]
    for override in arguments.overrides:
        name, value = key(override), override.partition("=")[2]
        if name in ("resume", "trust") or override == planned.get(name):
            continue
        if name.startswith(("hydra/launcher", "hydra.launcher.")) or (name == TRIALS and "n_trials" in plan.search):
            hydra.append(override)
        elif (name in may_change or name.startswith("logger.")) and name not in plan.varying:
            changed.append(override)
        else:
            raise UsageError(_another(name, value, plan, directory))
    if not plan.complete and not plan.search:
        print(
            f"the jobs of this sweep were chosen one after the other by {plan.sweeper}: the {len(plan.jobs)} that it "
            "had chosen are gone on with, and no others are chosen",
            file=sys.stderr,
        )
    said = [o for o in changed if key(o) in PRINTING]  # how this command prints is no part of the plan
    plan = plan.changed([o for o in changed if o not in said], hydra)
    _go_to(Path(plan.started_in))
    arguments.flags[:] = list(dict.fromkeys([*plan.flags, *arguments.flags]))
    told = plan.changed(said).overrides
    arguments.overrides[:] = [*told, *plan.hydra, f"hydra.sweep.dir={quote(str(directory))}"]
    return plan


def _another(name: str, value: str, plan: Plan, directory: Path) -> str:
    said = [o.partition("=")[2] for o in (*plan.overrides, *plan.hydra) if key(o) == name]
    if name in plan.varying and not said:
        said = ["one value a job"]
    then = f"{name}={said[-1]}" if said else f"no {name}"
    may_change = [*MAY_CHANGE, "hydra/launcher"]
    if plan.search:  # what its trials are compared by stays
        may_change[:1] = [TRIALS] if "n_trials" in plan.search else []
    return (
        f"{name}: got {value}, and the plan of {directory} says {then}: a sweep is gone on with as it was planned. "
        f"Leave it out, or start a new sweep; on resume may change: {', '.join(may_change)}"
    )


def _go_to(started_in: Path) -> None:
    """Work where the sweep was started: what it was told may be relative to that, and users' modules lie there."""
    if started_in == Path.cwd() or not started_in.name:
        return
    try:
        os.chdir(started_in)
    except OSError as error:
        print(
            f"{started_in}, where this sweep was started, cannot be gone to ({error.strerror}): "
            f"relative paths and modules are looked for in {Path.cwd()}",
            file=sys.stderr,
        )


def _epochs(arguments: Arguments) -> int | None:
    epochs = arguments.value("trainer.epochs")
    if epochs is not None and not epochs.isdigit():
        raise UsageError(f"trainer.epochs: got {epochs!r}, expected an integer")
    return None if epochs is None else int(epochs)


def is_done(directory: Path, record: dict[str, Any], epochs: int | None) -> bool:
    """True if a run has finished and no more epochs are asked for."""
    if record["status"] != "finished":
        return False
    if epochs is None:
        return True
    trainer = saved.read(directory, record).values.get("trainer")
    planned = trainer.get("epochs") if isinstance(trainer, dict) else None
    return isinstance(planned, int) and epochs <= planned


def _mend(directory: Path) -> None:
    """Make damaged weights of a finished run anew, where a checkpoint has them."""
    try:
        files.verify(directory / WEIGHTS)
    except FileNotFoundError:
        return
    except DamagedError:
        from ppl_vae.training.checkpoint import Store

        print(Store(directory).mend(), file=sys.stderr)


def _say_finished(directory: Path, record: dict[str, Any], arguments: Arguments) -> None:
    if arguments.value("format") == "json":
        result = {"run": str(directory), "status": "finished", **(record.get("result") or {})}
        print(json.dumps(result))
        return
    if (arguments.value("quiet") or "").lower() in TRUE:
        print(directory)
        return
    print(f"{directory} has finished already ({RECORD}); more epochs: add trainer.epochs=N", file=sys.stderr)
