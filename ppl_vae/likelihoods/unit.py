"""Likelihoods for values in [0, 1]: continuous Bernoulli and Beta."""

from typing import Any, final

import torch
from torch import Tensor

from ppl_vae.distributions.continuous_bernoulli import ContinuousBernoulliLogits
from ppl_vae.distributions.open_beta import OpenBeta
from ppl_vae.likelihoods.base import Likelihood
from ppl_vae.likelihoods.positive import softplus_inverse
from ppl_vae.nn.heads import positive


@final
class ContinuousBernoulli(Likelihood):
    r"""Independent elements in [0, 1] with density proportional to $e^{\eta x}$.

    What Bernoulli cross-entropy on grey values lacks to be a density is the normalizer, which this one has.

    Args:
        spec: the dataset's spec; support `unit`.

    References:
        Loaiza-Ganem and Cunningham (2019), The continuous Bernoulli: fixing a pervasive error in variational
            autoencoders, https://arxiv.org/abs/1907.06845
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


@final
class Beta(Likelihood):
    r"""Independent Beta elements with both concentrations from the network.

    $$\log p(x \mid a, b) = (a-1)\log x + (b-1)\log(1-x) - \log B(a, b)$$

    The density is 0 or infinite where x is exactly 0 or 1: data that touch the ends are refused. For these take
    `likelihood=continuous_bernoulli` or `dataset.dequantization=uniform`.

    Args:
        spec: the dataset's spec; support `unit`.
    """

    accepts = ("unit",)
    num_params = 2

    def forward(self, params: Tensor) -> Any:
        """Raw concentrations `(..., 2, *shape)` to a distribution over `(*shape)`."""
        a, b = self.split(params)
        return OpenBeta(positive(a), positive(b)).to_event(len(self.shape))

    def inverse_link(self, mean: Tensor) -> Tensor:
        """Concentrations that add up to 2 and have this mean."""
        mean = mean.clamp(1e-3, 1 - 1e-3)
        return softplus_inverse(torch.stack([2 * mean, 2 * (1 - mean)]))
