"""Likelihoods for integers 0 … levels-1: categorical, binomial, discretized logistic."""

from typing import Any, final

import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.distributions.integers import BinomialLogits, DiscretizedLogisticLevels
from ppl_vae.likelihoods.base import Likelihood
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.heads import inverse_softplus, positive


@final
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


@final
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


@final
class DiscretizedLogistic(Likelihood):
    """Independent integer elements whose neighbouring levels are alike: a discretized logistic.

    Args:
        spec: the dataset's spec; support `integers` (or `binary`).

    References:
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
