"""Probabilistic principal components: a linear-Gaussian model, where everything is known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.errors import DataError

_MOST_RECORDED = 1000  # larger parameters follow from the seed, and would drown a run's config


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """z ~ N(0, I), x | z ~ N(W z + b, σ² I); p(x) = N(b, W Wᵀ + σ² I), p(z | x) = N(M⁻¹ Wᵀ(x − b), σ² M⁻¹).

    M = Wᵀ W + σ² I. All in float64.

    Args:
        weight: W, ``(columns, latent)``.
        bias: b, ``(columns,)``.
        noise: σ.

    References:
        Tipping and Bishop (1999), Probabilistic Principal Component Analysis, https://doi.org/10.1111/1467-9868.00196

    Example:
        >>> process = LinearGaussian(torch.ones(2, 1).double(), torch.zeros(2).double(), 1.0)
        >>> process.posterior(torch.ones(1, 2).double()).mean
        tensor([[0.6667]], dtype=torch.float64)
    """

    weight: Tensor
    bias: Tensor
    noise: float

    def log_evidence(self, x: Tensor) -> Tensor:
        """Give log p(x) of each datum, ``(data,)``, in nats; x is ``(data, columns)``."""
        columns = len(self.bias)
        covariance = self.weight @ self.weight.mT + self.noise**2 * torch.eye(columns, dtype=self.weight.dtype)
        return MultivariateNormal(self.bias, covariance).log_prob(x.to(self.weight.dtype))

    def posterior(self, x: Tensor) -> MultivariateNormal:
        """Give p(z | x) with batch shape ``(data,)`` and event shape ``(latent,)``."""
        latent = self.weight.shape[1]
        precision = torch.eye(latent, dtype=self.weight.dtype) + self.weight.mT @ self.weight / self.noise**2
        location = (x.to(self.weight.dtype) - self.bias) @ self.weight / self.noise**2
        mean = torch.linalg.solve(precision, location.mT).mT
        return MultivariateNormal(mean, precision_matrix=precision)

    def sample(self, number: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw z, ``(number, latent)``, and x, ``(number, columns)``."""
        columns, latent = self.weight.shape
        z = torch.randn(number, latent, generator=generator, dtype=self.weight.dtype)
        noise = torch.randn(number, columns, generator=generator, dtype=self.weight.dtype)
        return z, z @ self.weight.mT + self.bias + self.noise * noise


def ppca(
    *,
    num_data: int = 2000,
    columns: int = 10,
    latent_dim: int = 2,
    noise: float = 0.5,
    validation: float = 0.1,
    test: float = 0.2,
    dtype: torch.dtype | str | None = None,
    seed: int = 0,
) -> Dataset:
    """Draw data from a linear-Gaussian model, which is the `truth` of the data set.

    Args:
        num_data: how many data, all splits together.
        columns: dimension of x.
        latent_dim: dimension of z.
        noise: σ, the standard deviation of x given z.
        validation: fraction or number of data.
        test: fraction or number of data.
        dtype: of the batches; float32 by default.
        seed: of the parameters, the data and the splits.

    Raises:
        DataError: for sizes or a noise that are not positive.

    Example:
        >>> data = ppca()
        >>> (x,) = data.test.batch()
        >>> data.truth.log_evidence(x).shape
        torch.Size([400])
    """
    for key, size in {"num_data": num_data, "columns": columns, "latent_dim": latent_dim}.items():
        if size < 1:
            raise DataError(f"Got {key}={size}, expected at least 1.")
    if not (math.isfinite(noise) and noise > 0):
        raise DataError(f"Got noise={noise}, expected a standard deviation above 0.")
    generator = torch.Generator().manual_seed(seed)
    process = LinearGaussian(
        weight=torch.randn(columns, latent_dim, generator=generator, dtype=torch.float64),
        bias=torch.randn(columns, generator=generator, dtype=torch.float64),
        noise=float(noise),
    )
    _, x = process.sample(num_data, generator)
    data = from_arrays(x.numpy(), validation, test, support="real", dtype=dtype, seed=seed, name="ppca")
    if process.weight.numel() > _MOST_RECORDED:
        return replace(data, truth=process)
    parameters = {"weight": process.weight.tolist(), "bias": process.bias.tolist(), "noise": process.noise}
    return replace(data, truth=process, provenance={**data.provenance, "parameters": parameters})
