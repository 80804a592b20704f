"""What the verbs on a run share: finding it, its pair on the right device, its data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from ppl_vae.cli.fresh import fresh
from ppl_vae.errors import DataError
from ppl_vae.runs import Run

if TYPE_CHECKING:
    from ppl_vae.datasets import Split
    from ppl_vae.vae import VAE


def opened(cfg: DictConfig) -> tuple[Run, VAE]:
    """The run that `run=` names, and its pair on the device the run was trained on if there is one here."""
    run = Run.load(cfg.run)
    device = fresh(int(cfg.get("seed", 0)), "auto")
    return run, run.vae.to(device)


def part(run: Run, name: str) -> Split:
    """One part of the run's data, which has to be there.

    Raises:
        DataError: if the part is empty or the data are not what they were.
    """
    data = run.data
    if data.spec != run.spec:
        raise DataError(
            f"the data of {run} are not what they were: got {data.spec}, expected {run.spec}; "
            "put the old file back, or train again"
        )
    split: Split = data.splits[name]
    if len(split) == 0:
        there = ", ".join(k for k, v in data.splits.items() if len(v))
        raise DataError(f"split={name}: this data set has no such part; expected one of {there}")
    return split
