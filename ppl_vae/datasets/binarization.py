"""Grey pixels to {0, 1}: by one fixed draw, by a fresh draw per visit, or by a threshold.

A grey level x in [0, 1] is read as the probability that the pixel is on, so a binarized image is a draw from
p(b) = ∏ x^b (1 − x)^(1 − b).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ppl_vae.datasets.noise import keyed_uniform
from ppl_vae.datasets.transform import Draw

Binarization = Literal["none", "static", "dynamic", "threshold"]


@dataclass(frozen=True)
class DynamicBinarization:
    """A fresh draw b ~ Bernoulli(x / peak) at every visit of a datum; `peak` is the value of white.

    Reference:
        Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2016, section 5.1.
    """

    peak: float

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Give b, booleans of x's shape."""
        return draw(x) * self.peak < x

    def mean(self, x: Tensor) -> Tensor:
        """Give E[b] = E[x] / peak."""
        return x / self.peak


def static_binarization(x: Tensor, indices: Tensor, peak: float, seed: int) -> Tensor:
    """Give one draw b ~ Bernoulli(x / peak) per datum, the same for ever: uint8 of x's shape.

    Reference:
        Salakhutdinov and Murray, "On the quantitative analysis of deep belief networks", 2008.
    """
    out = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    for part in torch.arange(len(x), device=x.device).split(4096):  # the noise takes 8 bytes a pixel
        out[part] = (keyed_uniform(indices[part], x.shape[1:], seed) * peak < x[part]).to(torch.uint8)
    return out


def threshold_binarization(x: Tensor, peak: float) -> Tensor:
    """Give 1 where x is at least half of white, else 0: uint8 of x's shape."""
    return (x >= peak / 2).to(torch.uint8)
