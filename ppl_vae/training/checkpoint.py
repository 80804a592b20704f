"""What training leaves in a run directory: weights, all state to go on, a line of metrics per epoch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ppl_vae.errors import RunError
from ppl_vae.runs import state as serialize
from ppl_vae.runs.files import write_atomically
from ppl_vae.training.history import History, Row, to_line

VERSION = 1


class Store:
    """The files of training in a directory, each written atomically but `metrics.jsonl`, which grows.

    - `model.safetensors`: the best validation weights, as in `vae.state_dict()`;
    - `checkpoints/last.safetensors`: all state to go on: tensors, and the rest as JSON in the file's header;
    - `metrics.jsonl`.

    Args:
        directory: the run directory.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self.model = self.directory / "model.safetensors"
        self.last = self.directory / "checkpoints" / "last.safetensors"
        self.metrics = self.directory / "metrics.jsonl"

    def create(self) -> None:
        """Make the folders.

        Raises:
            RunError: the directory cannot be made, or holds a run already.
        """
        if self.last.exists():
            raise RunError(
                f"Got directory={str(self.directory)!r}, which holds a run already; expected a new one. Go "
                "on with that "
                "run (resume=True), name another directory, or delete it."
            )
        try:
            self.last.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"Got {error.strerror or error} when making {self.last.parent}, expected a folder that can "
                "be written to."
            ) from error

    def load(self) -> Any | None:
        """All state to go on, or None where the run had not come so far as to save any.

        Raises:
            RunError: no such directory, a damaged file, or one of another version.
        """
        if not self.directory.is_dir():
            raise RunError(
                f"Got resume=True with directory={str(self.directory)!r}, which is no folder; expected that of a run."
            )
        if not self.last.exists():
            return None
        state = serialize.load(self.last)
        if not isinstance(state, dict) or state.get("version") != VERSION:
            raise RunError(
                f"Got {self.last} of another version of ppl_vae, expected version {VERSION}. Go on with the "
                "version that "
                "wrote it (see run.json), or train again."
            )
        return state

    def save_last(self, state: Any) -> None:
        """Write all state to go on."""
        serialize.save(self.last, {"version": VERSION, **state})

    def save_best(self, weights: dict[str, Any], epoch: int) -> None:
        """Write weights as the best so far."""
        serialize.save(self.model, weights, epoch=str(epoch))

    def append(self, row: Row) -> None:
        """Add a line of metrics, flushed."""
        try:
            with self.metrics.open("a") as file:
                file.write(to_line(row))
                file.flush()
                os.fsync(file.fileno())  # the checkpoint that follows counts on it
        except OSError as error:
            raise RunError(f"Got {error.strerror or error} when writing {self.metrics}; is the disk full?") from error

    def read_rows(self, number: int) -> list[Row]:
        """The first lines of metrics.

        Raises:
            RunError: there are fewer.
        """
        try:
            rows = History.from_jsonl(self.metrics.read_text()).rows
        except (OSError, ValueError) as error:
            raise RunError(
                f"Got {self.metrics} that cannot be read ({error}), expected {number} lines of JSON."
            ) from error
        if len(rows) < number:
            raise RunError(
                f"Got {len(rows)} epochs in {self.metrics}, expected the {number} that the checkpoint beside "
                "it has seen. "
                "Lines are missing: restore the file from a copy, or train again."
            )
        return rows[:number]

    def rewrite(self, rows: list[Row]) -> None:
        """Make the lines of metrics exactly these: those later than the checkpoint are dropped."""
        write_atomically(self.metrics, History(rows).to_jsonl())
