"""Score function: the gradient for draws that no gradient can flow through."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class ScoreFunction:
    r"""Draw without a gradient, and weight the score of q by the cost.

    $$\nabla_\phi \mathbb{E}_{q_\phi}[f(z)] = \mathbb{E}_{q_\phi}[(f(z) - b)\, \nabla_\phi \log q_\phi(z) + \nabla_\phi f(z)]$$

    References:
        Simple Statistical Gradient-Following Algorithms (Williams, 1992);
        Black Box Variational Inference (Ranganath, Gerrish and Blei, 2014), https://arxiv.org/abs/1401.0118
    """

    baseline: Any = None

    score: ClassVar[bool] = True
    enumerates: ClassVar[bool] = False

    def draw(self, q: Any, particle_dim: int | None = None) -> Tensor:
        """A draw that carries no gradient."""
        with torch.no_grad():
            return q.sample()

    def advantage(self, cost: Tensor, t: Any) -> tuple[Tensor, Tensor | None]:
        """The cost minus a baseline that does not depend on the draw, and the baseline's own loss, if it learns."""
        if self.baseline is None:
            return cost, None
        return self.baseline(cost, t)
