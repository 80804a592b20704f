"""Counts whose width is free: a normal over the square root, cut at the roots of the integers."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.distributions.elementwise import Elementwise

FAR = 1e30
"""Stands for no upper bound: its square root is beyond every draw, and its gradient is zero and no NaN."""

NARROW = 0.05
"""Cells of the normal up to this width are integrated by the midpoint, to 1e-6; a difference would lose digits."""


class RootNormal(Elementwise):
    r"""$k = \lfloor y^2 \rfloor$ with $y \sim \mathrm{Normal}(\mu, \sigma)$, held between 0 and $\sqrt{n + 1}$.

    $$P(k) = \frac{\Phi\big((\sqrt{k+1} - \mu)/\sigma\big) - \Phi\big((\sqrt{k} - \mu)/\sigma\big)}
    {\Phi\big((\sqrt{n+1} - \mu)/\sigma\big) - \Phi(-\mu/\sigma)}$$

    The root of a Poisson count has about the same width whatever its rate: at σ = 1/2 this is nearly a Poisson
    distribution, below it is narrower, above wider; at μ = 0 it is nearly a geometric one.

    Args:
        loc: μ, between 0 and the root of n + 1.
        scale: σ, positive.
        upper: n, the largest count; infinite for none.
        bounded: whether there is a largest count.

    References:
        Anscombe (1948), The transformation of Poisson, binomial and negative-binomial data,
            https://doi.org/10.1093/biomet/35.3-4.246

    Example:
        >>> import torch
        >>> q = RootNormal(torch.tensor(3.0), torch.tensor(0.5), torch.tensor(torch.inf))
        >>> q.log_prob(torch.arange(100.0)).exp().sum()
        tensor(1.0000)
    """

    names = ("loc", "scale", "upper")
    bounded: bool = False

    @property
    def support(self) -> Any:
        """0 … n where it is bounded, else all counts."""
        return constraints.integer_interval(0, self.parameters[2]) if self.bounded else constraints.nonnegative_integer

    def _ends(self) -> tuple[Tensor, Tensor]:
        """Where 0 and the root of n + 1 lie, in units of σ from μ."""
        loc, scale, upper = self.parameters
        return -loc / scale, ((upper.clamp(max=FAR) + 1).sqrt() - loc) / scale

    def log_density(self, value: Tensor) -> Tensor:
        """Log probability in nats."""
        loc, scale, _ = self.parameters
        low, high = self._ends()
        k = value.to(loc.dtype).clamp(min=0)
        twice = k.sqrt() + (k + 1).sqrt()
        middle, width = (twice / 2 - loc) / scale, 1 / (twice * scale)
        total = 0.5 * (torch.erf(high * 0.5**0.5) - torch.erf(low * 0.5**0.5))
        return _log_cell(middle, width) - total.log()

    def draw(self, shape: torch.Size) -> Tensor:
        """A draw by the inverse of the truncated normal's distribution function."""
        loc, scale, upper = (p.expand(shape) for p in self.parameters)
        low, high = (torch.special.ndtr(end).expand(shape) for end in self._ends())
        u = low + (high - low) * torch.rand(shape, dtype=loc.dtype, device=loc.device)
        eps = torch.finfo(loc.dtype).eps
        y = loc + scale * torch.special.ndtri(u.clamp(eps / 2, 1 - eps / 2))
        return torch.minimum(y.clamp(min=0).square().floor(), upper)


def _log_cell(middle: Tensor, width: Tensor) -> Tensor:
    """Log of a standard normal's mass in a cell."""
    narrow = width * middle.abs().clamp(min=1) < NARROW
    # Each formula is fed only what it is for, so that its gradient is finite where the other one is taken.
    m, w = torch.where(narrow, 0.0, middle.abs()), torch.where(narrow, 1.0, width)
    right = torch.special.log_ndtr(w / 2 - m)  # in the left tail, where the logarithm keeps its digits
    wide = right + torch.log(-torch.expm1(torch.special.log_ndtr(-w / 2 - m) - right))
    m, w = torch.where(narrow, middle, 0.0), torch.where(narrow, width, NARROW)
    log_2pi = 1.8378770664093453
    density = w.log() - 0.5 * (m.square() + log_2pi) + torch.log1p(w.square() * (m.square() - 1) / 24)
    return torch.where(narrow, density, wide)
