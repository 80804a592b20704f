"""Distributions of counts 0, 1, 2, …, parameterized by logarithms: Poisson, negative binomial, zero-inflated."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.distributions.elementwise import Elementwise


class PoissonLog(Elementwise):
    r"""Poisson with log rate η: $\log p(k) = k\eta - e^\eta - \log k!$, finite where $e^\eta$ rounds to 0.

    Args:
        log_rate: η.
    """

    names = ("log_rate",)
    support = constraints.nonnegative_integer

    def log_density(self, value: Tensor) -> Tensor:
        """Log probability in nats."""
        (log_rate,) = self.parameters
        k = value.to(log_rate.dtype)
        return k * log_rate - log_rate.exp() - torch.lgamma(k + 1)

    def draw(self, shape: torch.Size) -> Tensor:
        """A draw by torch's Poisson sampler."""
        return torch.poisson(self.mean.expand(shape))

    @property
    def mean(self) -> Tensor:
        """e^η."""
        return self.parameters[0].exp()


class NegativeBinomialLog(Elementwise):
    r"""Negative binomial with log mean η and log inverse dispersion ρ; variance $m + m^2/r$.

    $$\log p(k) = \log\frac{\Gamma(r+k)}{\Gamma(r)\,k!} + r\log\frac{r}{r+m} + k\log\frac{m}{r+m}$$

    with m = exp η, r = exp ρ. It goes over into the Poisson as r grows, without losing digits.

    Args:
        log_mean: η.
        log_r: ρ.
    """

    names = ("log_mean", "log_r")
    support = constraints.nonnegative_integer

    def log_density(self, value: Tensor) -> Tensor:
        """Log probability in nats."""
        log_mean, log_r = self.parameters
        k, log_r = (
            value.to(log_mean.dtype),
            log_r.clamp(max=40.0),
        )  # from there on a Poisson to the last digit
        k, log_r = torch.broadcast_tensors(k, log_r)
        log_sum = F.softplus(log_mean - log_r)  # log((r + m) / r)
        # log Γ(r+k) - log Γ(r) = k log r + excess: k log r joins the last term, where it cancels.
        excess = _log_rising_excess(log_r, k) - torch.lgamma(k + 1)
        return excess - log_r.exp() * log_sum + k * (log_mean - log_sum)

    def draw(self, shape: torch.Size) -> Tensor:
        """A Poisson draw whose rate is a Gamma draw."""
        log_mean, log_r = (p.expand(shape) for p in self.parameters)
        return torch.poisson(torch._standard_gamma(log_r.exp()) * (log_mean - log_r).exp())

    @property
    def mean(self) -> Tensor:
        """e^η."""
        return self.parameters[0].exp()


def _log_rising_excess(log_r: Tensor, k: Tensor) -> Tensor:
    """Of log Γ(r+k) - log Γ(r) what exceeds k log r.

    Where r is large, log Γ(r) leaves float32 no digit for the difference: there it is taken of
    Stirling's series. Where r is small, Γ(r) = Γ(1+r)/r keeps r from rounding to zero.
    """
    large = log_r > 2.0
    log_small = torch.where(large, torch.zeros_like(log_r), log_r)
    small, zero = log_small.exp(), k == 0
    rising = torch.lgamma(small + torch.where(zero, torch.ones_like(k), k)) - torch.lgamma(1 + small)
    direct = torch.where(zero, torch.zeros_like(k), rising + (1 - k) * log_small)
    r = torch.where(large, log_r, torch.full_like(log_r, 2.0)).exp()
    total = r + k
    series = _stirling(total) - _stirling(r)
    return torch.where(large, (total - 0.5) * torch.log1p(k / r) - k + series, direct)


def _stirling(z: Tensor) -> Tensor:
    """The tail of Stirling's series for log Γ(z), to 1e-12 from z = e² on."""
    w = 1 / (z * z)
    return (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w * (1 / 1188 - w * 691 / 360360))))) / z


class ZeroInflatedNegativeBinomialLog(Elementwise):
    r"""With probability σ(g) zero, else negative binomial.

    Args:
        log_mean: log mean η of the negative binomial part.
        log_r: its log inverse dispersion ρ.
        gate_logits: g.
    """

    names = ("log_mean", "log_r", "gate_logits")
    support = constraints.nonnegative_integer

    def log_density(self, value: Tensor) -> Tensor:
        """Log probability in nats."""
        log_mean, log_r, gate = self.parameters
        counted = F.logsigmoid(-gate) + NegativeBinomialLog(log_mean, log_r).log_density(value)
        return torch.where(value == 0, torch.logaddexp(F.logsigmoid(gate), counted), counted)

    def draw(self, shape: torch.Size) -> Tensor:
        """A draw of the gate, then of the count."""
        log_mean, log_r, gate = self.parameters
        dropped = torch.rand(shape, dtype=gate.dtype, device=gate.device) < gate.sigmoid()
        return torch.where(dropped, 0.0, NegativeBinomialLog(log_mean, log_r).draw(shape))

    @property
    def mean(self) -> Tensor:
        """σ(-g) e^η."""
        log_mean, _, gate = self.parameters
        return (-gate).sigmoid() * log_mean.exp()
