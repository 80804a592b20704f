"""Data of known processes: bars, whose evidence is enumerated, and probabilistic principal components, all Gaussian."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.keywords import source
from ppl_vae.errors import DataError

_MOST_CAUSES = 16  # 2^16 pictures are enumerated in a second
_MOST_RECORDED = 1000  # larger parameters follow from the seed, and would drown a run's config


def at_least_one(**sizes: int) -> None:
    """Refuse sizes below 1 by name."""
    for key, size in sizes.items():
        if size < 1:
            raise DataError(f"Got {key}={size}, expected at least 1.")


@dataclass(frozen=True)
class Bars:
    """c_j ~ Bernoulli(p) for the 2·size bars;  x = pixels under any bar, each flipped with probability `noise`.

    p(x) = Σ_c p(c) Π_i ε^[x_i ≠ y_i(c)] (1 − ε)^[x_i = y_i(c)], summed over all 2^(2·size) sets of bars.

    Args:
        size: side of the picture; bars 0, …, size − 1 are rows, the others columns.
        probability: p, of each bar.
        noise: ε, of each pixel.

    References:
        Földiák (1990), Forming sparse representations by local anti-Hebbian learning,
            https://doi.org/10.1007/BF02331346

    Example:
        >>> Bars(2, 0.5, 0.0).render(torch.tensor([[1, 0, 0, 0]])).tolist()
        [[[[1, 1], [0, 0]]]]
    """

    size: int
    probability: float
    noise: float

    def render(self, bars: Tensor) -> Tensor:
        """Give the pictures without noise, uint8 ``(data, 1, size, size)``, of bars ``(data, 2·size)``."""
        rows, columns = bars.bool().split(int(self.size), dim=1)
        return (rows[:, None, :, None] | columns[:, None, None, :]).to(torch.uint8)

    def log_evidence(self, x: Tensor) -> Tensor:
        """Give log p(x) of each picture, ``(data,)``, in nats, float64; −∞ where no bars can give it."""
        if 2 * self.size > _MOST_CAUSES:
            raise DataError(
                f"Got size={self.size}, expected at most {_MOST_CAUSES // 2} for an evidence by enumeration."
            )
        causes = 2 * self.size
        sets = (torch.arange(2**causes)[:, None] >> torch.arange(causes)) & 1
        clean = self.render(sets).flatten(1).double()
        number_on = sets.sum(1).double()
        log_prior = torch.xlogy(number_on, torch.tensor(self.probability, dtype=torch.float64))
        log_prior += torch.xlogy(causes - number_on, torch.tensor(1 - self.probability, dtype=torch.float64))
        parts = []
        for part in x.to("cpu", torch.float64).flatten(1).split(64):
            wrong = part.sum(1)[:, None] + clean.sum(1) - 2 * part @ clean.mT  # pixels that differ, (data, sets)
            log_likelihood = torch.xlogy(wrong, torch.tensor(self.noise, dtype=torch.float64))
            log_likelihood += (clean.shape[1] - wrong) * math.log1p(-self.noise)
            parts.append(torch.logsumexp(log_prior + log_likelihood, dim=1))
        return torch.cat(parts)

    def sample(self, number: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw bars, int64 ``(number, 2·size)``, and pictures, uint8 ``(number, 1, size, size)``."""
        bars = (torch.rand(number, 2 * self.size, generator=generator) < self.probability).to(torch.int64)
        clean = self.render(bars)
        flips = torch.rand(clean.shape, generator=generator) < self.noise
        return bars, clean ^ flips


@source
def bars(
    *,
    num_data: int = 5000,
    size: int = 6,
    probability: float = 0.2,
    noise: float = 0.02,
    validation: float = 0.1,
    test: float = 0.2,
    dtype: torch.dtype | str | None = None,
    seed: int = 0,
) -> Dataset:
    """Draw pictures of bars, ``(1, size, size)``, binary; which bars are on are their factors.

    Args:
        num_data: how many pictures, all splits together.
        size: side of a picture.
        probability: of each of the 2·size bars.
        noise: probability that a pixel is flipped.
        validation: fraction or number of data.
        test: fraction or number of data.
        dtype: of the batches.
        seed: of the data and the splits.

    Raises:
        DataError: for sizes below 1, and probabilities outside [0, 1) (of a bar, (0, 1)).

    Example:
        >>> data = bars(size=4)
        >>> float(data.truth.log_evidence(data.test.batch()[0]).mean()) > -16 * 0.6931
        True
    """
    at_least_one(num_data=num_data, size=size)
    if not 0 < probability < 1:
        raise DataError(f"Got probability={probability}, expected a number between 0 and 1.")
    if not 0 <= noise < 1:
        raise DataError(f"Got noise={noise}, expected a probability, below 1.")
    process = Bars(size, probability, noise)
    causes, x = process.sample(num_data, torch.Generator().manual_seed(seed))
    names = [f"row {i}" for i in range(size)] + [f"column {i}" for i in range(size)]
    data = from_arrays(
        x,
        validation,
        test,
        factors=dict(zip(names, causes.T, strict=True)),
        support="binary",
        dtype=dtype,
        seed=seed,
        name="bars",
    )
    parameters = {"size": size, "probability": probability, "noise": noise}
    return replace(data, truth=process, provenance={**data.provenance, "parameters": parameters})


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


@source
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
    at_least_one(num_data=num_data, columns=columns, latent_dim=latent_dim)
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
