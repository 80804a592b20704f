"""Gamma and log-normal likelihoods for positive data."""

from typing import Any, final

import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.likelihoods.base import Likelihood
from ppl_vae.nn.heads import inverse_softplus, positive


@final
class Gamma(Likelihood):
    r"""Independent Gamma elements, parameterized by mean m and concentration a.

    $$\log p(x \mid a, m) = a\log(a/m) + (a-1)\log x - ax/m - \log\Gamma(a)$$

    Args:
        spec: the dataset's spec; support `positive`.
    """

    accepts = ("positive",)
    num_params = 2

    def forward(self, params: Tensor) -> Any:
        """Raw mean and concentration `(..., 2, *shape)` to a distribution over `(*shape)`."""
        mean, concentration = (positive(p) for p in self.split(params))
        return dist.Gamma(concentration, concentration / mean).to_event(len(self.shape))

    def inverse_link(self, mean: Tensor) -> Tensor:
        """The raw mean, with concentration 1."""
        return softplus_inverse(torch.stack([mean, torch.ones_like(mean)]))


@final
class LogNormal(Likelihood):
    r"""Independent elements whose logarithm is normal: $\log x \sim \mathrm{Normal}(\mu, \sigma)$.

    Args:
        spec: the dataset's spec; support `positive`.
    """

    accepts = ("positive",)
    num_params = 2

    def forward(self, params: Tensor) -> Any:
        """Location and raw scale of log x, `(..., 2, *shape)`, to a distribution over `(*shape)`."""
        loc, raw = self.split(params)
        return dist.LogNormal(loc, positive(raw)).to_event(len(self.shape))

    def inverse_link(self, mean: Tensor) -> Tensor:
        """Scale 1, and the location that gives the mean: E[x] = exp(μ + ½)."""
        return torch.stack([mean.log() - 0.5, torch.full_like(mean, inverse_softplus(1.0))])


def softplus_inverse(value: Tensor) -> Tensor:
    """The numbers whose softplus is `value`."""
    return value + torch.log(-torch.expm1(-value))
