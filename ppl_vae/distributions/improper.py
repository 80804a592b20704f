"""The improper prior of log density 0, under which a VAE is a deterministic autoencoder."""

from collections.abc import Sequence
from typing import Any, NoReturn, Self

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.kinds import misfit, shown


class Flat(TorchDistribution):
    """log p(z) = 0 for every vector z: a density in name only, from which nothing can be drawn.

    Args:
        dim: size of z.
        batch_shape: of the distribution.
    """

    arg_constraints: Any = {}  # noqa: RUF012 - torch's own form
    support = constraints.real_vector

    def __init__(self, dim: int, batch_shape: Sequence[int] = torch.Size()) -> None:
        if misfit(dim, int) or not 0 <= dim < 2**63:
            raise ArgumentError(f"Got dim={shown(dim)}, expected a whole number of at least 0.")
        if misfit(batch_shape, Sequence[int]) or not all(0 <= n < 2**63 for n in batch_shape):
            raise ArgumentError(f"Got batch_shape={shown(batch_shape)}, expected sizes.")
        super().__init__(torch.Size(batch_shape), torch.Size((dim,)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Zero, `(..., )` of value's batch shape."""
        shape = torch.broadcast_shapes(self.batch_shape, value.shape[:-1])
        return torch.zeros(shape, dtype=value.dtype, device=value.device)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same with a larger batch shape."""
        wider = self.__new__(type(self))  # sizes of a captured program are symbols, which checks would bind
        super(Flat, wider).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        return wider

    def sample(self, sample_shape: Any = torch.Size()) -> NoReturn:  # noqa: B008 - torch's own signature
        """Refused.

        Raises:
            CheckError: always.
        """
        raise CheckError(
            "a deterministic autoencoder has no p(z) to draw from: its prior is flat (log density 0 everywhere), "
            "so it reconstructs but cannot generate. Fit a prior to its codes (ppl-vae prior run=DIR, pv.fit_prior), "
            "or train a VAE instead: model=vae guide=amortized."
        )
