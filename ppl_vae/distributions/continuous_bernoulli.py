"""The continuous Bernoulli distribution, by logits."""

import torch
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.distributions.elementwise import Elementwise


class ContinuousBernoulliLogits(Elementwise):
    r"""The exponential family $p(x) \propto e^{\eta x}$ on [0, 1], exact for every η.

    $$\log p(x \mid \eta) = \eta x - \log\frac{e^\eta - 1}{\eta}$$

    torch's own clips the probability to within 1e-7 of 0 and 1 in float32: another density from |η| > 16 on.

    Args:
        logits: η.
    """

    names = ("logits",)
    support = constraints.unit_interval
    has_rsample = True

    def log_density(self, value: Tensor) -> Tensor:
        """Log density in nats."""
        (logits,) = self.parameters
        return logits * (value - 0.5) - _log_sinhc(logits)

    def draw(self, shape: torch.Size) -> Tensor:
        """The inverse distribution function of uniform noise, on the side where it does not overflow."""
        (logits,) = self.parameters
        u = torch.rand(shape, dtype=logits.dtype, device=logits.device)
        near = logits.abs() < 1e-3
        size = torch.where(near, torch.ones_like(logits), logits).abs()
        v = torch.where(logits > 0, u, 1 - u)
        distance = -torch.log1p((1 - v) * torch.expm1(-size)) / size  # from the end where the mass is
        x = torch.where(logits > 0, 1 - distance, distance)
        return torch.where(near, u + logits * u * (1 - u) / 2, x).clamp(0, 1)

    @property
    def mean(self) -> Tensor:
        """1/(1 - e^-η) - 1/η."""
        (logits,) = self.parameters
        near = logits.abs() < 1e-2
        safe = torch.where(near, torch.ones_like(logits), logits)
        return torch.where(near, 0.5 + logits / 12, -1 / torch.expm1(-safe) - 1 / safe)


def _log_sinhc(logits: Tensor) -> Tensor:
    """log(sinh(η/2) / (η/2)), an even function without cancellation: log normalizer - η/2."""
    square = logits**2
    near = square < 0.01
    size = torch.where(near, torch.ones_like(logits), logits).abs()
    series = square / 24 - square**2 / 2880 + square**3 / 181440
    return torch.where(near, series, size / 2 + torch.log(-torch.expm1(-size) / size))
