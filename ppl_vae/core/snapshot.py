"""Copies of all that programs may change as they run: the tensors of modules, and random number generators."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae import rng
from ppl_vae.errors import RunError
from ppl_vae.nn.formerly import present_names


@dataclass(frozen=True)
class Snapshot:
    """Copies of all tensors that some modules hold, and of the states of random number generators.

    Args:
        tensors: those of each module, as `take_tensors` gives them.
        generators: as `rng.capture` gives them; None where they are left alone.
    """

    tensors: tuple[dict[str, Any], ...]
    generators: dict[str, Any] | None

    @staticmethod
    def of(parts: Sequence[Any], device: torch.device | None) -> Snapshot:
        """Take copies; what is no module has no tensors, and without a device generators are left alone."""
        generators = None if device is None else rng.capture(device)
        return Snapshot(*copied((tuple(map(take_tensors, parts)), generators)))

    def put(self, parts: Sequence[Any], device: torch.device | None, source: str = "memory") -> None:
        """Put everything back into the modules and generators that it was taken from."""
        for part, tensors in zip(parts, self.tensors, strict=True):
            put_tensors(part, tensors, source)
        if device is not None and self.generators is not None:
            rng.restore(self.generators, device)


def copied(value: Any) -> Any:
    """A deep copy of nested values, in which tensors are cloned: as `copy.deepcopy` gives it, ten times as fast."""
    if type(value) is Tensor:
        return value.detach().clone()
    if type(value) in (dict, OrderedDict):
        made = type(value)((k, copied(v)) for k, v in value.items())
        if isinstance(made, OrderedDict):
            vars(made).update(vars(value))  # torch keeps the versions of modules there
        return made
    if type(value) in (list, tuple):
        return type(value)(map(copied, value))
    return copy.deepcopy(value)


def take_tensors(module: Any) -> dict[str, Any]:
    """Everything a module holds: its `state_dict()`, and buffers that it keeps out of that."""
    if not isinstance(module, nn.Module):
        return {}
    return {**_passing_buffers(module), **module.state_dict()}


def put_tensors(module: Any, tensors: Mapping[str, Any], source: str) -> None:
    """Undo `take_tensors`, in place: parameters stay the same objects.

    Raises:
        RunError: the tensors are not those of this module.
    """
    if not isinstance(module, nn.Module):
        return
    if odd := [name for name in tensors if not isinstance(name, str)]:
        raise RunError(f"Got {odd[0]!r} among the names of weights in {source}, expected texts: it holds other things.")
    passing, tensors = _passing_buffers(module), dict(tensors)
    present_names(module, tensors)
    with torch.no_grad():
        for name, buffer in passing.items():
            if name in tensors and tensors[name].shape == buffer.shape:
                buffer.copy_(tensors[name])
    try:
        module.load_state_dict({k: v for k, v in tensors.items() if k not in passing})
    except RuntimeError as error:
        raise RunError(
            f"Got weights in {source} that are not those of this {type(module).__name__}, expected the networks that "
            f"were trained, with the same sizes: {unlike(module, tensors) or error}."
        ) from error


def unlike(module: nn.Module, tensors: Mapping[str, Any], most: int = 3) -> str:
    """Tell how weights differ from those of a module: the first of the sizes, then what one has alone.

    Args:
        module: whose names and sizes are expected.
        tensors: by the module's names.
        most: of each that are named.

    Example:
        >>> unlike(nn.Linear(2, 3), {"weight": torch.zeros(4, 2), "scale": torch.zeros(1)})
        'weight is (3, 2) here and (4, 2) there; here alone bias; there alone scale'
    """
    own = {name: tuple(value.shape) for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    held = {name: tuple(value.shape) for name, value in tensors.items() if isinstance(value, Tensor)}
    sizes = [f"{n} is {own[n]} here and {held[n]} there" for n in own if n in held and own[n] != held[n]]
    passing = _passing_buffers(module)
    alone = {"here": [n for n in own if n not in held], "there": [n for n in held if n not in own and n not in passing]}
    told = [_few(sizes, most), *(f"{where} alone {_few(names, most)}" for where, names in alone.items() if names)]
    return "; ".join(filter(None, told))


def _few(texts: Sequence[str], most: int) -> str:
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def _passing_buffers(module: nn.Module) -> dict[str, Tensor]:
    kept = module.state_dict().keys()
    return {name: buffer for name, buffer in module.named_buffers() if name not in kept}
