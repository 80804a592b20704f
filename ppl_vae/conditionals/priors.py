"""Priors over a latent vector: modules without input whose forward returns a distribution."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn


class StandardNormal(nn.Module):
    """Independent standard normal components.

    Args:
        dim: size of z.
    """

    zero: Tensor
    one: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # carry device and dtype
        self.register_buffer("one", torch.ones(()), persistent=False)

    def forward(self) -> Any:
        """The distribution over `(dim,)`."""
        return dist.Normal(self.zero, self.one).expand([self.dim]).to_event(1)
