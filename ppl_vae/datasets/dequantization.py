"""Integers to densities: uniform noise that fills the gap between neighbouring levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ppl_vae.datasets.transform import Draw

Dequantization = Literal["none", "uniform"]


@dataclass(frozen=True)
class UniformDequantization:
    """y = (x + u) / levels in [0, 1) with u ~ U[0, 1), for x in {0, …, levels − 1}.

    The expected log density of y, less log(levels) per dimension, is a lower bound on log P(x): a continuous
    model of y is thereby an honest model of the integers, which one of x / (levels − 1) is not.

    Reference:
        Theis, van den Oord and Bethge, "A note on the evaluation of generative models", 2016, section 3.1.
    """

    levels: int

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Give y, of the noise's dtype."""
        u = draw(x)
        # rounding may carry (levels − 1) + u up to levels: keep the half-open interval
        return ((x.to(u.dtype) + u) / self.levels).clamp(max=1 - 2.0**-24)

    def mean(self, x: Tensor) -> Tensor:
        """Give E[y] = (E[x] + 1/2) / levels."""
        return (x + 0.5) / self.levels
