"""Where the scale of a location-scale likelihood comes from."""

from collections.abc import Sequence
from math import expm1, log
from typing import Literal

import torch
from torch import Tensor, nn

from ppl_vae.conditionals.heads import positive
from ppl_vae.errors import PplVaeError

ScaleMode = Literal["network", "element", "shared", "fixed"]


class Scale(nn.Module):
    """A positive scale: predicted per datum by the network, learned per element, shared by all, or fixed.

    Args:
        shape: event shape of x.
        mode: `network`: each datum and element its own, from the decoder; `element`: one learned number
            per element; `shared`: one learned number; `fixed`: `value`, not learned.
        value: the scale, or where learning starts.

    Raises:
        PplVaeError: `value` is not positive.
    """

    raw: Tensor

    def __init__(self, shape: Sequence[int], mode: ScaleMode, value: float) -> None:
        super().__init__()
        if not value > 0:
            raise PplVaeError(f"a scale is positive, got value={value}.")
        self.mode = mode
        self.start = inverse_softplus(value)
        if mode == "fixed":
            self.register_buffer("raw", torch.tensor(value), persistent=False)
        elif mode != "network":
            self.raw = nn.Parameter(torch.full(tuple(shape) if mode == "element" else (), self.start))

    @property
    def num_params(self) -> int:
        """Decoder outputs per element that the scale needs."""
        return int(self.mode == "network")

    def forward(self, *raw: Tensor) -> Tensor:
        """Decoder output `(..., *shape)`, if the network gives the scale, to the scale."""
        if self.mode == "fixed":
            return self.raw
        return positive(raw[0] if raw else self.raw)


def inverse_softplus(value: float) -> float:
    """The number whose softplus is `value`."""
    return value if value > 30 else log(expm1(value))
