"""Data of another width than the networks of a pair, told in a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ppl_vae.errors import DataError

# The number that a layer was made for, and the axis of its input, counted from the right, that has to have it.
_LAYERS: tuple[tuple[Any, str, int], ...] = (
    (nn.Linear, "in_features", 1),
    (nn.RNNBase, "input_size", 1),
    (nn.Conv1d, "in_channels", 2),
    (nn.Conv2d, "in_channels", 3),
    (nn.Conv3d, "in_channels", 4),
)


@contextmanager
def misfit_told(vae: nn.Module) -> Iterator[None]:
    """Name the layer that refuses its input for its width, and what it was given.

    Raises:
        DataError: from torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        layer, shapes = _misfit(error, vae)
        if layer is None:
            raise
        raise DataError(
            f"Got a batch of {shapes}, for which the networks of this pair were not made: {layer}. Expected data of "
            "the width that they take. Give such data, or make the networks for these."
        ) from error


def _misfit(error: RuntimeError, vae: nn.Module) -> tuple[str | None, str]:
    names = {id(module): name for name, module in vae.named_modules()}
    frame = error.__traceback__
    found, shapes = None, ""
    while frame is not None:
        local = frame.tb_frame.f_locals
        if local.get("self") is vae and isinstance(local.get("batch"), tuple):
            shapes = ", ".join(str(tuple(part.shape)) for part in local["batch"] if isinstance(part, Tensor))
        layer, given = local.get("self"), local.get("input")
        for kind, size, axis in _LAYERS:
            if isinstance(layer, kind) and isinstance(given, Tensor) and given.dim() >= axis:
                expected = getattr(layer, size)
                if given.shape[-axis] != expected:
                    name = names.get(id(layer), type(layer).__name__)
                    found = f"{name} ({type(layer).__name__}) takes {expected} numbers, and was given "
                    found += f"{given.shape[-axis]}, in {tuple(given.shape)}"
        frame = frame.tb_next
    return found, shapes
