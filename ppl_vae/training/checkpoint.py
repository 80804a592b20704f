"""The files of training in a run directory: what the run is, weights, all state to go on, a line per epoch."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from ppl_vae.errors import RunError
from ppl_vae.reading import read_text
from ppl_vae.runs import reference
from ppl_vae.runs import state as serialize
from ppl_vae.runs.files import append, write_atomically
from ppl_vae.runs.recorder import CHECKPOINT, METRICS, RECIPE, REFERENCE, WEIGHTS, RunWriter, read_recipe
from ppl_vae.training.history import History, Row, to_line
from ppl_vae.training.recipe import LATER, refuse_other

VERSION = 1


class Store:
    """The files of training in a run directory.

    They are written in this order, each whole or not at all, so that a run that is killed at any moment can go on:

    - `run.json`: that the run is running (by whoever made the `RunWriter`, or here);
    - `recipe.json`: what makes it this run and no other, and the checksums of its data;
    - `reference.safetensors`: the first data that the pair has seen;
    - `checkpoints/last.safetensors`: all state to go on: tensors, and the rest as JSON in the file's header;
    - after each epoch a line of `metrics.jsonl`, which grows and may be torn; `model.safetensors`, the best validation
      weights, as in `vae.state_dict()`; and the state to go on again.

    Args:
        directory: the run directory, or the `RunWriter` that holds it.
    """

    def __init__(self, directory: str | os.PathLike[str] | RunWriter) -> None:
        self.writer = directory if isinstance(directory, RunWriter) else None
        self.owns = self.writer is None
        self.directory = Path(directory)
        self.model = self.directory / WEIGHTS
        self.last = self.directory / CHECKPOINT
        self.metrics = self.directory / METRICS
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
        if not resume and self.last.exists():
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
        try:
            self.last.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"Got {error.strerror or error} when making {self.last.parent}, expected a folder that can be "
                "written to."
            ) from error

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
                with contextlib.suppress(RunError):  # the error at hand tells more than that it cannot be written
                    self.writer.failed(error, f"{type(error).__name__}: {error}")
        finally:
            self.writer.release()

    # --- what the run is
    # -------------------------------------------------------------------------------------------------

    def save_recipe(self, recipe: dict[str, Any]) -> None:
        """Write what makes this run."""
        write_atomically(self.recipe, json.dumps(recipe, indent=2, allow_nan=False) + "\n")

    def save_reference(self, batch: tuple[Any, ...]) -> str:
        """Write the first data; give why they cannot be kept, if so."""
        return reference.save(self.directory, batch)

    @property
    def has_reference(self) -> bool:
        """True if the first data are there."""
        return (self.directory / REFERENCE).exists()

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
            RunError: a damaged file, or one of another version.
        """
        if not self.last.exists():
            return None
        state = serialize.load(self.last)
        if not isinstance(state, dict) or state.get("version") != VERSION:
            raise RunError(
                f"Got {self.last} of another version of ppl_vae, expected version {VERSION}. Go on with the version "
                "that wrote it (see run.json), or train again."
            )
        return state

    def save_last(self, state: Any) -> None:
        """Write all state to go on."""
        serialize.save(self.last, {"version": VERSION, **state})

    def save_best(self, weights: dict[str, Any], epoch: int) -> None:
        """Write weights as the best so far."""
        serialize.save(self.model, weights, epoch=epoch)

    # --- metrics
    # ---------------------------------------------------------------------------------------------------------

    def append(self, row: Row) -> None:
        """Add a line of metrics, on the disk when this returns: the checkpoint that follows counts on it."""
        append(self.metrics, to_line(row))

    def read_rows(self, number: int) -> list[Row]:
        """The first lines of metrics.

        Raises:
            RunError: there are fewer.
        """
        if number == 0:
            return []  # the file may not be there yet, or hold the first lines of what was never saved
        try:
            rows = History.from_jsonl(read_text(self.metrics, f"{number} lines of JSON")).rows
        except ValueError as error:
            raise RunError(
                f"Got {self.metrics} that cannot be read ({error}), expected {number} lines of JSON."
            ) from error
        if len(rows) < number:
            raise RunError(
                f"Got {len(rows)} epochs in {self.metrics}, expected the {number} that the checkpoint beside it has "
                "seen. Lines are missing: restore the file from a copy, or train again."
            )
        return rows[:number]

    def rewrite(self, rows: list[Row]) -> None:
        """Make the lines of metrics exactly these: those later than the checkpoint are dropped."""
        write_atomically(self.metrics, History(rows).to_jsonl())
