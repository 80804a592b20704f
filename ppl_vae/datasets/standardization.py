"""Zero mean and unit variance per column or channel, with the training data's statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ppl_vae.datasets.transform import Draw
from ppl_vae.errors import DataError

Standardize = Literal["none", "zscore"]


@dataclass(frozen=True, eq=False)
class Standardization:
    """z = (x − location) / scale; the statistics are shaped to broadcast against an event of x.

    Densities of z are those of x times ∏ scale: add Σ log(1 / scale), `log_density_shift`, to a log density
    of z to have it in the units of x (nats per datum).
    """

    location: Tensor
    scale: Tensor

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Give z; the noise is not used."""
        return (x - self.location) / self.scale

    def mean(self, x: Tensor) -> Tensor:
        """Give E[z]: zero, but for the axes that share one location."""
        return (x - self.location) / self.scale

    def to(self, device: torch.device | str) -> Standardization:
        """Give the same standardization with its statistics on `device`."""
        return Standardization(self.location.to(device), self.scale.to(device))

    def log_density_shift(self, shape: tuple[int, ...]) -> float:
        """Give log p(x) − log p(z) for one datum of `shape`, in nats."""
        return -float(self.scale.double().log().expand(shape).sum())


def fit_standardization(chunks: Callable[[], Iterable[Tensor]], names: Sequence[str] | None = None) -> Standardization:
    """Take mean and standard deviation over the data and all event axes but the first.

    Args:
        chunks: gives the training data afresh, ``(data, columns)`` or ``(data, channels, height, width)``, in
            parts.
        names: of the columns, for the message.

    Raises:
        DataError: for a column or channel that never varies, whose density is infinite.
    """

    def average(part: Callable[[Tensor], Tensor]) -> Tensor:
        total, count = torch.zeros((), dtype=torch.float64), 0
        for x in chunks():
            axes = [d for d in range(x.ndim) if d != 1]
            total = total.to(x.device) + part(x.double()).sum(axes, keepdim=True)[0]
            count += x.numel() // x.shape[1] if x.ndim > 1 else len(x)
        return total / count

    location = average(lambda x: x)
    scale = average(lambda x: (x - location).square()).sqrt()  # two passes: exact where location >> scale
    constant = (scale <= 1e-12 * location.abs()).flatten().nonzero().flatten().tolist()
    if constant:
        shown = ", ".join(repr(names[i]) if names else str(i) for i in constant[:5])
        value = location.flatten()[constant[0]].item()
        raise DataError(
            f"Got {len(constant)} columns or channels without variance in the training data ({shown}; the "
            f"first is {value:g} throughout), expected each to vary: leave them out, or use "
            "standardization='none'."
        )
    return Standardization(location, scale)
