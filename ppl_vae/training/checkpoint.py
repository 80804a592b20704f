"""The files of training in a run directory: what the run is, weights, all state to go on, a line per epoch."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from ppl_vae import files
from ppl_vae.errors import DamagedError, RunError
from ppl_vae.files import manifest, seal
from ppl_vae.runs import checkpoints, reference
from ppl_vae.runs import state as serialize
from ppl_vae.runs.checkpoints import VERSION, Saved
from ppl_vae.runs.files import append, settle, write_atomically
from ppl_vae.runs.metrics import rows_of, to_line
from ppl_vae.runs.recorder import CHECKPOINT, METRICS, PREVIOUS, RECIPE, REFERENCE, WEIGHTS, RunWriter, read_recipe
from ppl_vae.training.history import History, Row
from ppl_vae.training.recipe import LATER, refuse_other


class Store:
    """The files of training in a run directory.

    They are written in this order, each whole or not at all, so that a run that is killed at any moment can go on:

    - `run.json`: that the run is running (by whoever made the `RunWriter`, or here);
    - `recipe.json`: what makes it this run and no other, and the checksums of its data;
    - `reference.safetensors`: the first data that the pair has seen;
    - `checkpoints/last.safetensors`: all state to go on: tensors, and the rest as JSON in the file's header;
    - after each epoch a line of `metrics.jsonl`, which grows and may be torn; `model.safetensors`, the best validation
      weights, as in `vae.state_dict()`; and the state to go on again, the one of the epoch before it renamed to
      `checkpoints/previous.safetensors`, from which is gone on where the last one is damaged.

    Each file is sealed in itself; the manifest of the run holds them once training has ended.

    Args:
        directory: the run directory, or the `RunWriter` that holds it.
    """

    def __init__(self, directory: str | os.PathLike[str] | RunWriter) -> None:
        self.writer = directory if isinstance(directory, RunWriter) else None
        self.owns = self.writer is None
        self.directory = Path(directory)
        self.model = self.directory / WEIGHTS
        self.last = self.directory / CHECKPOINT
        self.previous = self.directory / PREVIOUS
        self.saved: Saved | None = None  # what is gone on from
        self._is_kept = False  # whether the last state is whole, and after an epoch: then it becomes the previous
        self.metrics = self.directory / METRICS
        self._unsettled = False  # whether lines of metrics may not be on the disk
        self.recipe = self.directory / RECIPE

    # --- the life of a run
    # -----------------------------------------------------------------------------------------------

    def take(self, resume: bool) -> None:
        """Take the directory for this process; a run that is there stays as it is.

        Raises:
            RunError: the directory cannot be made, holds a run already, or none to go on with.
        """
        if resume and not self.directory.is_dir():
            raise RunError(
                f"Got resume=True with directory={str(self.directory)!r}, which is no folder; expected that of a run. "
                "Nothing was started there: leave out resume=True to begin."
            )
        if not resume and checkpoints.are_there(self.directory):
            raise RunError(
                f"Got directory={str(self.directory)!r}, which holds a run already; expected a new one. Go on with "
                "that run (resume=True), name another directory, or delete it."
            )
        if self.writer is None:
            self.writer = RunWriter(self.directory, resume=resume)

    def begin(self, seed: int, facts: dict[str, Any] | None = None) -> None:
        """Say that the run is running.

        Args:
            seed: of all random numbers.
            facts: what else belongs in `run.json`, such as on how many processes.
        """
        assert self.writer is not None
        if self.owns:
            self.writer.start(verb="fit", seed=seed)
        self.writer.begin()
        if facts:
            self.writer.tell(**facts)
        files.folder(self.last.parent)

    def close(self, history: History, error: BaseException | None = None) -> None:
        """Say how the run ended, and give the directory up."""
        if self.writer is None or not self.owns:
            return
        try:
            if not self.writer.began:
                return
            if history.status == "interrupted":
                self.writer.end("interrupted")
            elif error is None:
                self.writer.end("finished", result=history.result)
            else:
                self.writer.failed(error, f"{type(error).__name__}: {error}")
        finally:
            self.writer.release()

    # --- what the run is
    # -------------------------------------------------------------------------------------------------

    def save_recipe(self, recipe: dict[str, Any]) -> None:
        """Write what makes this run."""
        write_atomically(self.recipe, seal.sealed_json(recipe, indent=2), listed=False)

    def save_reference(self, batch: tuple[Any, ...]) -> str:
        """Write the first data; give why they cannot be kept, if so."""
        return reference.save(self.directory, batch)

    @property
    def has_reference(self) -> bool:
        """True if the first data are there."""
        return files.is_there(self.directory / REFERENCE)

    def refuse_other(self, recipe: dict[str, Any], state: dict[str, Any]) -> None:
        """Refuse to go on as another run.

        Raises:
            RunError: naming what differs, or that the file is damaged.
        """
        now = json.loads(json.dumps(recipe))
        then = read_recipe(self.directory)
        if not then:  # earlier versions of ppl_vae kept less, and kept it here
            then = {k: v for k, v in state.get("recipe", {}).items() if k in now and type(v) is type(now[k])}
            now = {k: now[k] for k in then}
        refuse_other({k: v for k, v in LATER.items() if k in now} | then, now, self.directory)

    @property
    def shares(self) -> int | None:
        """The shares that batches of the run that is there were taken in; None without one."""
        found = read_recipe(self.directory)
        return int(found.get("shares", 1)) if found else None

    # --- state to go on
    # --------------------------------------------------------------------------------------------------

    def load(self) -> Any | None:
        """All state to go on, or None where the run had not come so far as to save any.

        Raises:
            RunError: damaged files, or those of another version.
        """
        self.saved = saved = checkpoints.last(self.directory)
        self._is_kept = saved is not None and saved.is_last and saved.at_epoch
        return None if saved is None else saved.state

    def save_last(self, state: Any) -> None:
        """Write all state to go on, and keep the one of the epoch before."""
        if self._is_kept:
            with contextlib.suppress(FileNotFoundError):
                os.replace(self.last, self.previous)  # noqa: PTH105 - every operation on the disk is a function of os
        self._is_kept = False
        serialize.save(self.last, {"version": VERSION, **state})
        self._is_kept = state.get("position") == 0

    def load_best(self, epoch: int | None) -> tuple[dict[str, Any] | None, str]:
        """The best weights so far, if there are any, and what is to be said aloud of them.

        Where their file is damaged, and a state is of their epoch, they are taken from there.

        Args:
            epoch: after which they were the best; None before the first.

        Raises:
            DamagedError: they are lost.
        """
        try:
            there = files.is_there(self.model) or manifest.is_listed(self.model)
            return (serialize.load(self.model) if there else None), ""
        except DamagedError as error:
            if epoch is None:
                return None, f"{error} They are made anew."
            for state in (self.saved, checkpoints.before_last(self.directory)):
                if state is not None and state.at_epoch and state.state.get("epoch") == epoch:
                    weights = {**state.state["vae"], **(state.state.get("average") or {})}
                    return weights, f"{error} They are taken from {state.path}."
            raise DamagedError(f"{error} No checkpoint is of their epoch, which is {epoch}.") from None

    def mend(self) -> str:
        """Make damaged weights of a run that has ended anew; what is to be said of it, nothing where they are whole.

        Raises:
            RunError: they are lost, or another process has the run.
        """
        try:
            serialize.load(self.model)
        except DamagedError:
            if self.load() is None:
                raise
        else:
            return ""
        kept = History(rows_of(self.directory), keep=str(read_recipe(self.directory).get("keep", "best"))).kept
        with RunWriter(self.directory, resume=True):
            weights, told = self.load_best(None if kept is None else int(kept["epoch"]))
            if weights is None or kept is None:
                raise DamagedError(told)
            manifest.withdraw(self.directory, [WEIGHTS])
            self.save_best(weights, int(kept["epoch"]))
            manifest.enter(self.directory, [WEIGHTS])
        return told

    def save_best(self, weights: dict[str, Any], epoch: int) -> None:
        """Write weights as the best so far."""
        serialize.save(self.model, weights, epoch=epoch)

    # --- metrics
    # ---------------------------------------------------------------------------------------------------------

    def append(self, row: Row) -> None:
        """Add a line of metrics; `settle_metrics` before the checkpoint that counts on it."""
        append(self.metrics, to_line(row))
        self._unsettled = True

    def settle_metrics(self) -> None:
        """Wait until all lines are on the disk."""
        if self._unsettled:
            settle(self.metrics)
            self._unsettled = False

    def read_rows(self, number: int) -> list[Row]:
        """The first lines of metrics.

        Raises:
            RunError: there are fewer.
        """
        if number == 0:
            return []  # the file may not be there yet, or hold the first lines of what was never saved
        rows = rows_of(self.directory)
        if len(rows) < number:
            raise RunError(
                f"Got {len(rows)} epochs in {self.metrics}, expected the {number} that the checkpoint beside it has "
                "seen. Lines are missing: restore the file from a copy, or train again."
            )
        return rows[:number]

    def rewrite(self, rows: list[Row]) -> None:
        """Make the lines of metrics exactly these: those later than the checkpoint are dropped."""
        write_atomically(self.metrics, "".join(map(to_line, rows)), listed=False)
