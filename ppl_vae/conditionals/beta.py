"""Beta likelihood for values inside (0, 1)."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.conditionals.heads import positive
from ppl_vae.conditionals.likelihood import Likelihood
from ppl_vae.conditionals.positive import softplus_inverse


class Beta(Likelihood):
    r"""Independent Beta elements with both concentrations from the network.

    $$\log p(x \mid a, b) = (a-1)\log x + (b-1)\log(1-x) - \log B(a, b)$$

    The density is 0 or infinite where x is exactly 0 or 1: for data that touch the ends, take
    `likelihood=continuous_bernoulli` or `dataset.dequantization=uniform`.

    Args:
        spec: the dataset's spec; support `unit`.
    """

    accepts = ("unit",)
    num_params = 2

    def forward(self, params: Tensor) -> Any:
        """Raw concentrations `(..., 2, *shape)` to a distribution over `(*shape)`."""
        a, b = self.split(params)
        return dist.Beta(positive(a), positive(b)).to_event(len(self.shape))

    def inverse_link(self, mean: Tensor) -> Tensor:
        """Concentrations that add up to 2 and have this mean."""
        mean = mean.clamp(1e-3, 1 - 1e-3)
        return softplus_inverse(torch.stack([2 * mean, 2 * (1 - mean)]))
