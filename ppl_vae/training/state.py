"""The state of a run: all that the rest of it depends on, which is exactly what a checkpoint holds and restores."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from ppl_vae import rng
from ppl_vae.compile.adam import Updater
from ppl_vae.compile.meter import Meter
from ppl_vae.core.snapshot import put_tensors, take_tensors
from ppl_vae.training.average import Average
from ppl_vae.training.history import Row
from ppl_vae.training.schedulers import Pacer


@dataclass
class State:
    """The place of training, and everything that it changes; a field is a key of a checkpoint.

    Args:
        vae: the pair.
        objective: what is maximized; its tensors, if it is a module.
        rng: the device whose random numbers are drawn, with those of the CPU, NumPy and Python.
        rows: one for each whole epoch; a checkpoint holds their number, and `metrics.jsonl` the rows.
        optimizer: what changes the parameters; None where nothing is trained.
        scheduler: the learning rate over time; None where nothing is trained.
        epoch: whole epochs.
        step: steps in all.
        position: steps in the epoch at hand.
        spent: seconds spent on it.
        meter: its averages.
        average: of the weights over the steps; None where none is taken.
        stopped: whether a callback has stopped training.
    """

    vae: Any
    objective: Any
    rng: torch.device
    rows: list[Row]
    optimizer: Updater | None = None
    scheduler: Pacer | None = None
    epoch: int = 0
    step: int = 0
    position: int = 0
    spent: float = 0.0
    meter: Meter = field(default_factory=Meter)
    average: Average | None = None
    stopped: bool = False

    def take(self) -> dict[str, Any]:
        """Plain values and the tensors that are in use, not copies."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "position": self.position,
            "spent": self.spent,
            "rows": len(self.rows),
            "vae": take_tensors(self.vae),
            "objective": take_tensors(self.objective),
            "optimizer": None if self.optimizer is None else self.optimizer.state(),
            "scheduler": None if self.scheduler is None else self.scheduler.state(),
            "meter": self.meter.state(),
            "average": None if self.average is None else self.average.take(),
            "stopped": self.stopped,
            "rng": rng.capture(self.rng),
        }

    def put(self, taken: dict[str, Any], source: str) -> None:
        """Go back, or on, to what `take` gave.

        Args:
            taken: from `take`.
            source: where it was kept, for messages.

        Raises:
            RunError: the tensors are not those of this pair and objective.
        """
        self.epoch, self.step, self.position = taken["epoch"], taken["step"], taken["position"]
        self.spent, self.stopped = taken["spent"], bool(taken.get("stopped", False))
        del self.rows[taken["rows"] :]
        if self.optimizer is not None and self.scheduler is not None:
            self.optimizer.load(taken["optimizer"])
            self.scheduler.load(taken["scheduler"])
        self.meter = Meter()
        self.meter.load(taken["meter"], self.rng)
        put_tensors(self.vae, taken["vae"], source)
        put_tensors(self.objective, taken["objective"], source)
        if self.average is not None:
            self.average.put(taken.get("average"), source)
        rng.restore(taken["rng"], self.rng)

    def weights(self) -> dict[str, Any]:
        """The weights to keep: the pair's own, or their averages; the tensors that are in use, not copies."""
        return self.vae.state_dict() if self.average is None else self.average.weights()

    def holding_weights(self) -> AbstractContextManager[None]:
        """Within, the pair holds the weights to keep."""
        return nullcontext() if self.average is None else self.average.held()

    def end_step(self) -> None:
        """One step is done, the update of the parameters included."""
        if self.scheduler is not None:
            self.scheduler.after_step()
        self.step += 1
        self.position += 1
        if self.average is not None:
            self.average.update(self.step)

    def end_epoch(self) -> None:
        """One pass through the data is done."""
        self.epoch, self.position, self.meter = self.epoch + 1, 0, Meter()
