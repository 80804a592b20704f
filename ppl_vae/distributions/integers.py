"""Distributions of integers 0 … levels-1: binomial, discretized logistic."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.distributions.elementwise import Elementwise


class BinomialLogits(Elementwise):
    r"""Binomial with logits η, exact for every η.

    $$\log p(k) = \log\tbinom{n}{k} + k \log\sigma(\eta) + (n-k) \log\sigma(-\eta)$$

    Args:
        logits: η.
        total_count: n.
    """

    names = ("logits",)
    total_count: int

    @property
    def support(self) -> Any:
        """0 … n."""
        return constraints.integer_interval(0, self.total_count)

    def log_density(self, value: Tensor) -> Tensor:
        """Log probability in nats."""
        (logits,) = self.parameters
        k = value.to(logits.dtype)
        rest = self.total_count - k
        n = torch.full_like(logits, self.total_count)
        log_choose = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(rest + 1)
        return log_choose + k * F.logsigmoid(logits) + rest * F.logsigmoid(-logits)

    def draw(self, shape: torch.Size) -> Tensor:
        """A draw by torch's binomial sampler."""
        probs = self.parameters[0].sigmoid().expand(shape)
        return torch.binomial(torch.full_like(probs, self.total_count), probs)

    @property
    def mean(self) -> Tensor:
        """Its mean, n σ(η)."""
        return self.total_count * self.parameters[0].sigmoid()


class DiscretizedLogisticLevels(Elementwise):
    r"""A logistic density integrated over the unit interval around each level; the ends take the tails.

    $$P(k) = \sigma(b) - \sigma(a), \quad a = (k - \tfrac12 - \mu)/s,\; b = (k + \tfrac12 - \mu)/s$$

    computed as $\sigma(b)\,\sigma(-a)\,(1 - e^{-1/s})$, which loses no digit in the tails.

    Args:
        loc: μ, in levels.
        scale: s, in levels.
        levels: number of levels.
    """

    names = ("loc", "scale")
    levels: int

    @property
    def support(self) -> Any:
        """0 … levels-1."""
        return constraints.integer_interval(0, self.levels - 1)

    def log_density(self, value: Tensor) -> Tensor:
        """Log probability in nats."""
        loc, scale = self.parameters
        distance = value.to(loc.dtype) - loc
        above = F.logsigmoid((distance + 0.5) / scale)
        below = F.logsigmoid(-(distance - 0.5) / scale)
        inside = above + below + _log1mexp(1 / scale)
        return torch.where(value == 0, above, torch.where(value == self.levels - 1, below, inside))

    def draw(self, shape: torch.Size) -> Tensor:
        """A logistic draw, rounded to the nearest level."""
        loc, scale = self.parameters
        u = torch.rand(shape, dtype=loc.dtype, device=loc.device).clamp(min=torch.finfo(loc.dtype).tiny)
        return (loc + scale * (u.log() - (-u).log1p())).round().clamp(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """Sum of P(x ≥ k) over k > 0."""
        loc, scale = self.parameters
        steps = torch.arange(1, self.levels, dtype=loc.dtype, device=loc.device) - 0.5
        return ((loc.unsqueeze(-1) - steps) / scale.unsqueeze(-1)).sigmoid().sum(-1)


def _log1mexp(t: Tensor) -> Tensor:
    """log(1 - exp(-t)) for t > 0; the clamps bound the branch that is not taken, for its gradient."""
    small = torch.log(-torch.expm1(-t.clamp(max=0.7)))
    return torch.where(t < 0.7, small, torch.log1p(-torch.exp(-t.clamp(min=0.7))))
