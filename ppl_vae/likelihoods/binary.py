"""Bernoulli likelihood for binary data."""

from typing import Any, final

import pyro.distributions as dist
from torch import Tensor

from ppl_vae.likelihoods.base import Likelihood


class BernoulliLogits(dist.Bernoulli):
    """A Bernoulli whose data may be booleans or integers."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability in nats."""
        return super().log_prob(value.to(self.logits.dtype))


@final
class Bernoulli(Likelihood):
    r"""Independent binary elements, parameterized by logits.

    $$\log p(x \mid \eta) = \sum_d x_d \log\sigma(\eta_d) + (1 - x_d) \log\sigma(-\eta_d)$$

    Grey values in (0, 1) are refused: there this is a cross-entropy, but no density.

    Args:
        spec: the dataset's spec; support `binary`.

    Example:
        >>> import torch
        >>> from ppl_vae.datasets.spec import Spec
        >>> spec = Spec(shape=(1, 2, 2), support="binary")
        >>> px = Bernoulli(spec)(torch.zeros(5, 1, 1, 2, 2))
        >>> px.log_prob(torch.ones(1, 2, 2)).exp()
        tensor([0.0625, 0.0625, 0.0625, 0.0625, 0.0625])
    """

    accepts = ("binary",)
    num_params = 1

    def forward(self, params: Tensor) -> Any:
        """Logits `(..., 1, *shape)` to a distribution over `(*shape)`."""
        (logits,) = self.split(params)
        return BernoulliLogits(logits=logits).to_event(len(self.shape))

    def inverse_link(self, mean: Tensor) -> Tensor:
        """Logit of the mean, kept within ±6.9 as in the reference code of Burda et al. (2016)."""
        return mean.clamp(1e-3, 1 - 1e-3).logit().unsqueeze(0)
