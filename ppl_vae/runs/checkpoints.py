"""The states to go on from: the last one, and the one of the epoch before it, for when the last one is damaged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppl_vae import files
from ppl_vae.errors import DamagedError, RunError
from ppl_vae.runs.recorder import CHECKPOINT, PREVIOUS

VERSION = 1


@dataclass(frozen=True)
class Saved:
    """A state to go on from.

    Attributes:
        state: as `fit` saved it.
        path: of its file.
        told: what is to be said aloud: that it is not the last one; empty where all is well.
    """

    state: dict[str, Any]
    path: Path
    told: str = ""

    @property
    def is_last(self) -> bool:
        """False where the last one is damaged, or was about to be written when its process was killed."""
        return self.path.name == Path(CHECKPOINT).name

    @property
    def at_epoch(self) -> bool:
        """True for the state after a whole epoch."""
        return bool(self.state.get("position") == 0)


def are_there(directory: Path) -> bool:
    """True if a run has come so far as to save a state."""
    return any(files.is_there(directory / name) for name in (CHECKPOINT, PREVIOUS))


def last(directory: Path) -> Saved | None:
    """The last state that is whole, or None where the run had not come so far as to save any.

    Raises:
        RunError: all are damaged, or of another version.
    """
    path, previous = directory / CHECKPOINT, directory / PREVIOUS
    try:
        if files.is_there(path):
            return Saved(_read(path), path)
        why = ""  # its process was killed between the two: nothing is damaged
    except DamagedError as error:
        why = str(error)
        if not files.is_there(previous):
            raise
    if not files.is_there(previous):
        return None
    try:
        found = Saved(_read(previous), previous)
    except DamagedError as error:
        raise DamagedError(f"{why} The one before it is of no use either: {error}" if why else str(error)) from None
    if not why:
        return found
    return Saved(found.state, previous, f"{why} Going on from {previous}, after epoch {found.state.get('epoch')}.")


def before_last(directory: Path) -> Saved | None:
    """The state of the epoch before; None where there is none, or it is damaged."""
    path = directory / PREVIOUS
    try:
        return Saved(_read(path), path) if files.is_there(path) else None
    except RunError:
        return None


def _read(path: Path) -> dict[str, Any]:
    from ppl_vae.runs import state as serialize  # brings torch

    state = serialize.load(path)
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise RunError(
            f"Got {path} of another version of ppl_vae, expected version {VERSION}. Go on with the version "
            "that wrote it (see run.json), or train again."
        )
    return state
