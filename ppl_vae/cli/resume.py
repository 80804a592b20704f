"""`train resume=DIR`: the run's own config becomes the primary one, and few keys may change."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ppl_vae.cli.arguments import Arguments, quote
from ppl_vae.config.schema import Train, describe, near
from ppl_vae.config.targets import with_present_names
from ppl_vae.errors import RunError, UsageError
from ppl_vae.runs.recorder import CHECKPOINT, CONFIG, RECORD, locked, read_record
from ppl_vae.runs.run import find

NAME = "resumed_train"
MAY_CHANGE = ("trainer.epochs", "format", "logger")


def prepare(arguments: Arguments) -> bool:
    """Make the command line that of the run: its config, its folder, the keys that may change.

    Returns:
        Whether there is anything left to do; a finished run says so.

    Raises:
        UsageError: for any other key, or `-m`.
        RunError: for a folder that is no run, or one in use.
    """
    if arguments.multirun:
        raise UsageError("resume goes on with one run: leave out -m, and resume the runs of a sweep one by one")
    directory = find(str(arguments.value("resume")), key="resume")
    epochs = arguments.value("trainer.epochs")
    if epochs is not None and not epochs.isdigit():
        raise UsageError(f"trainer.epochs: got {epochs!r}, expected an integer")
    typed = [o for o in arguments.overrides if o.split("=", 1)[0].lstrip("+~") != "resume"]
    for override in typed:
        key = override.split("=", 1)[0]
        if key not in MAY_CHANGE and not key.startswith("logger."):
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
    config = _saved(directory)
    if _is_done(record, config, epochs) and not arguments.asks_only:
        if locked(directory):
            raise RunError(f"{directory} is being trained by another process; wait for it, or stop it first")
        _say_finished(directory, record, arguments)
        return False
    if not arguments.asks_only and record["status"] != "running" and not (directory / CHECKPOINT).exists():
        print(f"{directory / CHECKPOINT} is not there: training starts again from epoch 1", file=sys.stderr)
    logger = arguments.value("logger")
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
    ConfigStore.instance().store(name=NAME, node=OmegaConf.create(node), provider="ppl_vae")
    arguments.overrides[:] = [*typed, f"hydra.run.dir={quote(str(directory))}"]
    return True


def _saved(directory: Path) -> dict[str, Any]:
    try:
        config: Any = OmegaConf.to_container(OmegaConf.load(directory / CONFIG))
    except Exception as error:
        raise RunError(f"{directory / CONFIG} cannot be read ({error}); this run cannot go on: train anew") from None
    if not isinstance(config, dict):
        raise RunError(f"{directory / CONFIG} is no config of a run; this run cannot go on: train anew")
    return with_present_names(config)


def _is_done(record: dict[str, Any], config: dict[str, Any], epochs: str | None) -> bool:
    """True if a run has finished and no more epochs are asked for."""
    if record["status"] != "finished":
        return False
    return epochs is None or int(epochs) <= int((config.get("trainer") or {}).get("epochs", 0))


def _say_finished(directory: Path, record: dict[str, Any], arguments: Arguments) -> None:
    if arguments.value("format") == "json":
        result = {"run": str(directory), "status": "finished", **(record.get("result") or {})}
        print(json.dumps(result))
        return
    print(f"{directory} has finished already ({RECORD}); more epochs: add trainer.epochs=N", file=sys.stderr)
