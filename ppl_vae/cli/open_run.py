"""The common beginning of verbs on a run: finding it, its pair on the right device, its data."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ppl_vae.cli.hydra import Context
from ppl_vae.cli.process import reset_process
from ppl_vae.config.keys import GROUPS
from ppl_vae.errors import DataError, UsageError
from ppl_vae.runs.run import Run

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.datasets import Dataset, Split


def opened(cfg: DictConfig, context: Context) -> tuple[Run, VAE]:
    """The run that `run=` names, and its pair on the best device there is here."""
    run = Run.load(cfg.run, trust=cfg.trust)
    device = reset_process(int(cfg.get("seed", 0)), worker=context.worker)
    return run, run.vae.to(device)


def part(run: Run, name: str) -> Split:
    """One part of the run's data, which has to be there.

    Raises:
        DataError: if the part is empty or the data are not what they were.
    """
    data = run.data
    if data.spec != run.spec:
        how = "; ".join(
            f"{k}: got {got}, expected {then}" for k, (got, then) in data.spec.differences(run.spec).items()
        )
        raise DataError(f"the data of {run} are not what they were: {how}; put the old file back, or train again")
    tell_replaced(run, name, data)
    split = data.splits[name]
    from ppl_vae.datasets.several import Several

    if isinstance(split, Several):
        raise DataError(
            f"split={name}: got data of which some have labels, expected one kind: split=test, for instance"
        )
    if len(split) == 0:
        there = ", ".join(k for k, v in data.splits.items() if len(v))
        raise DataError(f"split={name}: this data set has no such part; expected one of {there}")
    return split


def tell_replaced(run: Run, name: str, data: Dataset) -> None:
    """Say aloud where one part of a run's data, of which something is about to be made, is not what it was."""
    if warning := replaced(run, name, data):
        print(f"warning: {warning}", file=sys.stderr)


def replaced(run: Run, name: str, data: Dataset | None = None) -> str:
    """A sentence where one part of a run's data is not what it was when the run was trained; else nothing."""
    from ppl_vae.training.recipe import changed_data, describe_data

    then = run.recipe.get("data", {}).get(name)
    if then is None:  # a run of an earlier version, which kept no checksums of its data
        return ""
    now = json.loads(json.dumps(describe_data((data or run.data).splits[name])))
    how = changed_data(then, now)
    told = f"the {name} data are not those of when {run} was trained: {how}; figures are of the data as they are"
    return told if how else ""


def conditions(run: Run) -> tuple[Any, ...]:
    """A batch for a model to generate from: one of x alone needs no data, others are given those of the test data."""
    if run.reference is not None and len(run.spec.fields) == 1:
        return run.reference
    data = run.data
    name = "test" if len(data.test) else "train"
    tell_replaced(run, name, data)
    return data.splits[name].batch()


@dataclass
class Pair:
    """A pair with one batch of its training data, from a run or from groups."""

    vae: VAE
    batch: tuple[Any, ...]
    objective: Any
    data: Dataset
    directory: Path | None = None
    saved: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def pair_of(cfg: DictConfig, context: Context) -> Pair:
    """The pair of `run=DIR` with its own config, else the one that the groups describe.

    Raises:
        UsageError: for a group typed beside a run.
    """
    if cfg.run is None:
        from ppl_vae.cli.assemble import assemble

        made = assemble(cfg, context)
        batch = _first(made.data, cfg.batch_size, made.device)
        return Pair(made.vae, batch, made.objective, made.data, None, made.saved, made.facts)
    typed = [k for k in (o.split("=", 1)[0].lstrip("+~").split(".")[0] for o in context.typed) if k in GROUPS]
    if typed:
        raise UsageError(f"{typed[0]}=… beside run=…: a run has its own {typed[0]}; leave out one of the two")
    run, vae = opened(cfg, context)
    data = run.data.to(vae.device)
    tell_replaced(run, "train", data)
    return Pair(vae, _first(data, cfg.batch_size, vae.device), run.objective, data, run.directory)


def _first(data: Dataset, batch_size: int, device: Any) -> tuple[Any, ...]:
    return tuple(part.to(device) for part in data.train[: min(batch_size, len(data.train))].batch())
