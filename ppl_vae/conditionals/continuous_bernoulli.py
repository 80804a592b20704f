"""Continuous Bernoulli likelihood for grey values in [0, 1]."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.conditionals.elementwise import Elementwise
from ppl_vae.conditionals.likelihood import Likelihood


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


class ContinuousBernoulli(Likelihood):
    r"""Independent elements in [0, 1] with density proportional to $e^{\eta x}$.

    What Bernoulli cross-entropy on grey values lacks to be a density is the normalizer, which this one has.

    Args:
        spec: the dataset's spec; support `unit`.

    Reference:
        Loaiza-Ganem and Cunningham (2019), The continuous Bernoulli: fixing a pervasive error in
        variational autoencoders, https://arxiv.org/abs/1907.06845
    """

    accepts = ("unit",)
    num_params = 1

    def forward(self, params: Tensor) -> Any:
        """Logits `(..., 1, *shape)` to a distribution over `(*shape)`."""
        (logits,) = self.split(params)
        return ContinuousBernoulliLogits(logits).to_event(len(self.shape))

    def inverse_link(self, mean: Tensor) -> Tensor:
        """The logits of this mean, by bisection: the mean grows with η."""
        low, high = torch.full_like(mean, -100.0), torch.full_like(mean, 100.0)
        for _ in range(50):
            middle = (low + high) / 2
            below = ContinuousBernoulliLogits(middle).mean < mean
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return low.unsqueeze(0)
