"""Likelihoods for integers 0 … levels-1: categorical, binomial, discretized logistic."""

from typing import Any

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.conditionals.elementwise import Elementwise
from ppl_vae.conditionals.heads import positive
from ppl_vae.conditionals.likelihood import Likelihood
from ppl_vae.conditionals.scale import inverse_softplus
from ppl_vae.conditionals.spec import DataSpec


class Categorical(Likelihood):
    r"""Independent elements with a free probability for each level.

    Args:
        spec: the dataset's spec; support `integers` (or `binary`).
    """

    accepts = ("integers", "binary")

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.num_params = spec.levels or 2

    def forward(self, params: Tensor) -> Any:
        """Logits `(..., levels, *shape)` to a distribution over `(*shape)`."""
        event_dim = len(self.shape)
        return dist.Categorical(logits=params.movedim(-1 - event_dim, -1)).to_event(event_dim)


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


class Binomial(Likelihood):
    r"""Independent binomial elements with n = levels - 1: as if each were the count of n binary pixels.

    Args:
        spec: the dataset's spec; support `integers` (or `binary`).
    """

    accepts = ("integers", "binary")
    num_params = 1

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.total_count = (spec.levels or 2) - 1

    def forward(self, params: Tensor) -> Any:
        """Logits `(..., 1, *shape)` to a distribution over `(*shape)`."""
        (logits,) = self.split(params)
        return BinomialLogits(logits, total_count=self.total_count).to_event(len(self.shape))

    def inverse_link(self, mean: Tensor) -> Tensor:
        """Logit of mean / n."""
        return (mean / self.total_count).clamp(1e-3, 1 - 1e-3).logit().unsqueeze(0)


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


class DiscretizedLogistic(Likelihood):
    """Independent integer elements whose neighbouring levels are alike: a discretized logistic.

    Args:
        spec: the dataset's spec; support `integers` (or `binary`).

    Reference:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
        https://arxiv.org/abs/1606.04934
    """

    accepts = ("integers", "binary")
    num_params = 2

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.levels = spec.levels or 2

    def forward(self, params: Tensor) -> Any:
        """Location in units of half the range from its middle, and raw scale, `(..., 2, *shape)`."""
        loc, raw = self.split(params)
        half = (self.levels - 1) / 2
        base = DiscretizedLogisticLevels(half * (1 + loc), half * positive(raw), levels=self.levels)
        return base.to_event(len(self.shape))

    def inverse_link(self, mean: Tensor) -> Tensor:
        """The mean as location; a scale of a fifth of half the range."""
        half = (self.levels - 1) / 2
        return torch.stack([mean / half - 1, torch.full_like(mean, inverse_softplus(0.2))])
