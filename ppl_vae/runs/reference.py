"""The first data that a pair has seen, kept with its run: what a loaded pair takes names, sizes and shapes from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae import files
from ppl_vae.core.batch import batch_length, take
from ppl_vae.core.programs import Parameters
from ppl_vae.errors import DamagedError, RunError
from ppl_vae.files import manifest
from ppl_vae.frames import module_of
from ppl_vae.runs import state as serialize
from ppl_vae.runs.recorder import REFERENCE

FEW = 2


def choose(batch: tuple[Any, ...], vae: nn.Module) -> tuple[Any, ...]:
    """The first two data of a batch; all of them where parameters that programs have made have one size per datum.

    Args:
        batch: the first that the pair was run on.
        vae: the pair, after it.
    """
    length = batch_length(batch)
    if length is None or length <= FEW or any(length in parameter.shape for parameter in _made(vae)):
        return batch
    return take(batch, torch.arange(FEW))


def _made(vae: nn.Module) -> Iterator[Tensor]:
    """The parameters that programs have made when first run: those of `pyro.param`, and of autoguides."""
    for module in vae.modules():
        names = {module_of(cls) for cls in type(module).__mro__}
        if isinstance(module, Parameters) or any(n.startswith(("pyro.infer.autoguide", "pyro.contrib")) for n in names):
            yield from module.parameters()


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
    if not files.is_there(path) and manifest.is_listed(path):
        return None, (
            f"{path} is not there any more, expected the first data that the pair was run on; restore it from a copy. "
            "Without it the pair is not run before it is used."
        )
    if not files.is_there(path):
        return None, f"{directory} holds no {REFERENCE}: it comes from a version of ppl_vae that kept none"
    state = serialize.load(path)
    if not isinstance(state, dict) or not isinstance(state.get("batch"), tuple):
        raise DamagedError(f"Got {path} that holds no batch, expected what `fit` wrote. Restore it from a copy.")
    return (state["batch"], "") if state["batch"] else (None, str(state.get("why")))
