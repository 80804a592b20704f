"""The first data that a pair has seen, kept with its run: what a loaded pair takes names, sizes and shapes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ppl_vae.core.batch import batch_length, take
from ppl_vae.errors import RunError
from ppl_vae.runs import state as serialize
from ppl_vae.runs.recorder import REFERENCE

FEW = 2


def choose(batch: tuple[Any, ...], made: Mapping[str, Tensor]) -> tuple[Any, ...]:
    """The first two data of a batch; all of them where parameters that programs have made have one size per datum.

    Args:
        batch: the first that the pair was run on.
        made: parameters that its programs made when first run, by name.

    Example:
        >>> import torch
        >>> [len(choose((torch.zeros(9, 4),), {"scale": torch.zeros(n)})[0]) for n in (3, 9)]
        [2, 9]
    """
    length = batch_length(batch)
    if length is None or length <= FEW or any(length in parameter.shape for parameter in made.values()):
        return batch
    import torch

    return take(batch, torch.arange(FEW))


def save(directory: Path, batch: tuple[Any, ...]) -> str:
    """Write a batch into a run directory; give why it cannot be kept, where it holds what is no plain value."""
    path, why = directory / REFERENCE, ""
    try:
        serialize.flatten(tuple(batch))
    except RunError as error:
        batch, why = (), f"The batches of this run cannot be kept beside it: {error}"
    serialize.save(path, {"batch": tuple(batch), "why": why})
    return why


def load(directory: Path) -> tuple[tuple[Any, ...] | None, str]:
    """The batch that `save` wrote, or None and why there is none.

    Raises:
        RunError: the file is damaged.
    """
    path = directory / REFERENCE
    if not path.exists():
        return None, f"{directory} holds no {REFERENCE}: it comes from a version of ppl_vae that kept none"
    state = serialize.load(path)
    if not isinstance(state, dict) or not isinstance(state.get("batch"), tuple):
        raise RunError(f"Got {path} that holds no batch, expected what `fit` wrote. Restore it from a copy.")
    return (state["batch"], "") if state["batch"] else (None, str(state.get("why")))
