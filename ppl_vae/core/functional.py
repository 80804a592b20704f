"""Calling a module with other tensors in the place of its own."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def call_with(module: nn.Module, given: Mapping[int, Tensor], *args: Any) -> Any:
    """Call `module(*args)` with tensors replaced wherever they are; afterwards it holds its own again.

    `torch.func.functional_call` alone leaves the given tensors behind in a module that is reached by two paths, as one
    network is that model and guide share.

    Args:
        module: any.
        given: what replaces a parameter or buffer, by its `id`.
        args: what the module is called with.
    """
    values = {name: given[id(tensor)] for name, tensor in _places(module) if id(tensor) in given}
    return torch.func.functional_call(module, values, args, tie_weights=False)


def _places(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every place of a parameter or buffer, once, whatever the number of paths to it."""
    for prefix, owner in module.named_modules():
        for own in (owner._parameters, owner._buffers):
            for name, tensor in own.items():
                if tensor is not None:
                    yield f"{prefix}.{name}" if prefix else name, tensor
