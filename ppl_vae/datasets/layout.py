"""Where the colour channels of an image are; a model is given (channels, height, width)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ppl_vae.errors import DataError

Channels = Literal["keep", "auto", "first", "last", "none"]
_COLOURS = (1, 3, 4)  # grey, RGB, RGB with opacity


def looks_channels_last(x: Tensor) -> bool:
    """Whether x is ``(data, height, width, channels)`` and cannot be ``(data, channels, height, width)``."""
    return x.ndim == 4 and x.shape[3] in _COLOURS and x.shape[1] not in _COLOURS


def channels_first(x: Tensor, channels: Channels | None, what: str = "x") -> Tensor:
    """Bring images to ``(data, channels, height, width)``.

    Args:
        x: the images.
        channels: ``first`` and ``last`` say where the channels are, ``none`` that there is no such axis;
            ``auto`` finds out, for a number of channels of 1, 3 or 4; ``keep`` leaves every shape as it is.
            None is ``keep``, but refuses uint8 images with the channels last, which would otherwise train a
            wrong model unnoticed.
        what: name of x in messages.

    Raises:
        DataError: for shapes that are no images in the layout given.
    """
    if channels not in (None, "keep", "auto", "first", "last", "none"):
        raise DataError(f"Got channels={channels!r}, expected one of keep, auto, first, last, none.")
    if channels is None and x.dtype == torch.uint8 and looks_channels_last(x):
        raise DataError(
            f"Got {what} of shape {tuple(x.shape)}, whose channels seem to come last, expected (data, "
            "channels, height, width): give channels='last' to have them moved, or channels='keep' for a "
            "model that wants this."
        )
    if channels is None or channels == "keep" or (channels == "auto" and x.ndim not in (3, 4)):
        return x
    if channels == "auto":
        channels = "none" if x.ndim == 3 else "last" if looks_channels_last(x) else "first"
    wanted = 3 if channels == "none" else 4
    if x.ndim != wanted:
        raise DataError(
            f"Got {what} of shape {tuple(x.shape)} with channels={channels!r}, expected {wanted} axes: "
            f"{'(data, height, width)' if wanted == 3 else '(data, height, width, channels) in some order'}."
        )
    if channels == "none":
        return x.unsqueeze(1)
    return x.permute(0, 3, 1, 2).contiguous() if channels == "last" else x
