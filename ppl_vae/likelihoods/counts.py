"""Likelihoods for counts 0, 1, 2, …: Poisson, negative binomial, zero-inflated negative binomial."""

from typing import Any, final

import torch
from torch import Tensor

from ppl_vae.distributions.counts import NegativeBinomialLog, PoissonLog, ZeroInflatedNegativeBinomialLog
from ppl_vae.likelihoods.base import Likelihood


@final
class Poisson(Likelihood):
    """Independent Poisson elements, parameterized by the log rate.

    Args:
        spec: the dataset's spec; support `counts` (or `integers`).
    """

    accepts = ("counts", "integers")
    num_params = 1

    def forward(self, params: Tensor) -> Any:
        """Log rates `(..., 1, *shape)` to a distribution over `(*shape)`."""
        return PoissonLog(*self.split(params)).to_event(len(self.shape))

    def inverse_link(self, mean: Tensor) -> Tensor:
        """Log of the mean."""
        return mean.clamp(min=1e-3).log().unsqueeze(0)


@final
class NegativeBinomial(Likelihood):
    """Independent negative binomial elements: counts with more variance than a Poisson has.

    Args:
        spec: the dataset's spec; support `counts` (or `integers`).

    References:
        Lopez et al. (2018), Deep generative modeling for single-cell transcriptomics,
            https://doi.org/10.1038/s41592-018-0229-2
    """

    accepts = ("counts", "integers")
    num_params = 2

    def forward(self, params: Tensor) -> Any:
        """Log mean and log inverse dispersion `(..., 2, *shape)` to a distribution over `(*shape)`."""
        return NegativeBinomialLog(*self.split(params)).to_event(len(self.shape))

    def inverse_link(self, mean: Tensor) -> Tensor:
        """Log of the mean; inverse dispersion 1."""
        return torch.stack([mean.clamp(min=1e-3).log(), torch.zeros_like(mean)])


@final
class ZeroInflatedNegativeBinomial(Likelihood):
    """Independent zero-inflated negative binomial elements: counts with dropout.

    Args:
        spec: the dataset's spec; support `counts` (or `integers`).

    References:
        Lopez et al. (2018), Deep generative modeling for single-cell transcriptomics,
            https://doi.org/10.1038/s41592-018-0229-2
    """

    accepts = ("counts", "integers")
    num_params = 3

    def forward(self, params: Tensor) -> Any:
        """Log mean, log inverse dispersion and gate logits `(..., 3, *shape)` to a distribution."""
        return ZeroInflatedNegativeBinomialLog(*self.split(params)).to_event(len(self.shape))

    def inverse_link(self, mean: Tensor) -> Tensor:
        """Log of the mean, inverse dispersion 1, gate at 12 %."""
        return torch.stack([mean.clamp(min=1e-3).log(), torch.zeros_like(mean), torch.full_like(mean, -2.0)])
