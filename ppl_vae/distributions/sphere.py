"""Distributions over unit vectors, whose draws carry a gradient: power spherical, and uniform."""

import math
from typing import Any, Self

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import Dirichlet, constraints, register_kl

from ppl_vae.errors import ArgumentError
from ppl_vae.kinds import misfit, shown

_NO_SIZES = torch.Size()


class Sphere(constraints.Constraint):
    """Vectors of length 1, up to rounding (Pyro's own constraint leaves no room for that of two roots)."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        """True for each vector of length 1, `(...,)`."""
        room = 8 * torch.finfo(value.dtype).eps * value.shape[-1] ** 0.5
        return (value.norm(dim=-1) - 1).abs() < room


sphere = Sphere()
"""The one object of its class."""


def log_area(dim: int) -> float:
    r"""The logarithm of the area of the sphere of unit vectors of `dim` elements, $2 \pi^{d/2} / \Gamma(d/2)$.

    Example:
        >>> math.isclose(log_area(3), math.log(4 * math.pi))
        True
    """
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


class UniformSphere(TorchDistribution):
    r"""Unit vectors, all directions alike: $p(z) = \Gamma(d/2) / (2 \pi^{d/2})$ on the sphere in d dimensions.

    Args:
        dim: d, at least 2.
        batch_shape: of the distribution.
        like: a tensor whose dtype and device draws have; torch's defaults without one.

    Raises:
        ArgumentError: for other sizes.

    Example:
        >>> UniformSphere(3).sample((2,)).norm(dim=-1)
        tensor([1., 1.])
    """

    arg_constraints: Any = {}  # noqa: RUF012 - torch's own form
    support = sphere
    has_rsample = True

    def __init__(self, dim: int, batch_shape: Any = _NO_SIZES, like: Tensor | None = None) -> None:
        if misfit(dim, int) or not 2 <= dim < 2**31:
            raise ArgumentError(f"Got dim={shown(dim)}, expected a whole number of at least 2.")
        if misfit(batch_shape, tuple[int, ...]) or not all(0 <= n < 2**63 for n in batch_shape):
            raise ArgumentError(f"Got batch_shape={shown(batch_shape)}, expected sizes.")
        if like is not None and not isinstance(like, Tensor):
            raise ArgumentError(f"Got like={shown(like)}, expected a tensor.")
        self.like = torch.zeros(()) if like is None else like.detach()
        super().__init__(torch.Size(batch_shape), torch.Size((dim,)), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Zero, `(..., d)`."""
        return self.like.new_zeros(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """1 / d of each element, `(..., d)`."""
        return torch.full_like(self.mean, 1 / self.event_shape[0])

    def rsample(self, sample_shape: Any = _NO_SIZES) -> Tensor:
        """A normal draw, brought to length 1."""
        z = torch.randn(self._extended_shape(sample_shape), dtype=self.like.dtype, device=self.like.device)
        return torch.nn.functional.normalize(z, dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The same for all directions, `(...,)`."""
        shape = torch.broadcast_shapes(self.batch_shape, value.shape[:-1])
        return value.new_full(shape, -log_area(self.event_shape[0]))

    def entropy(self) -> Tensor:
        """The logarithm of the sphere's area, nats, `(...,)`."""
        return self.like.new_full(self.batch_shape, log_area(self.event_shape[0]))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same with a larger batch shape."""
        return type(self)(self.event_shape[0], torch.Size(batch_shape), self.like)


class PowerSpherical(TorchDistribution):
    r"""Unit vectors around a direction, as the von Mises–Fisher distribution but drawn without rejection.

    $$p(z) = \frac{(1 + \mu^\top z)^\kappa}{2^{\alpha + \beta} \pi^\beta\, \Gamma(\alpha) / \Gamma(\alpha + \beta)},
    \qquad \alpha = \beta + \kappa,\ \beta = \tfrac{d - 1}{2}$$

    A draw is $z = t \mu + \sqrt{1 - t^2}\, v$ with $(1 + t) / 2 \sim \mathrm{Beta}(\alpha, \beta)$ and v uniform among
    the directions at right angles to μ; its gradient goes through both. The KL to `UniformSphere` is closed:

    $$\mathrm{KL} = \kappa\, (\log 2 + \psi(\alpha) - \psi(\alpha + \beta)) - \log N + \log A_d,
    \qquad A_d = 2 \pi^{d/2} / \Gamma(d/2).$$

    Args:
        loc: μ, of length 1, `(..., d)` with d at least 2.
        concentration: κ ≥ 0, `(...,)`; 0 is the uniform distribution.
        validate_args: as in torch.

    Raises:
        ArgumentError: these are no tensors, or do not go together.

    References:
        De Cao and Aziz (2020), The Power Spherical distribution, https://arxiv.org/abs/2006.04437
        Davidson et al. (2018), Hyperspherical Variational Auto-Encoders, https://arxiv.org/abs/1804.00891

    Example:
        >>> q = PowerSpherical(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(2.0))
        >>> q.mean
        tensor([0.0000, 0.0000, 0.5000])
    """

    arg_constraints: Any = {  # noqa: RUF012 - torch's own form
        "loc": sphere,
        "concentration": constraints.nonnegative,
    }
    support = sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        for name, value in (("loc", loc), ("concentration", concentration)):
            if not isinstance(value, Tensor) or not value.is_floating_point():
                raise ArgumentError(f"Got {name}={shown(value)}, expected a tensor of floats.")
        if not loc.dim() or loc.shape[-1] < 2:
            raise ArgumentError(f"Got loc of shape {tuple(loc.shape)}, expected directions (..., d), d at least 2.")
        if not (validate_args is None or isinstance(validate_args, bool)):
            raise ArgumentError(f"Got validate_args={shown(validate_args)}, expected true or false or None.")
        try:
            shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        except RuntimeError:
            raise ArgumentError(
                f"Got loc of shape {tuple(loc.shape)} and concentration of shape {tuple(concentration.shape)}, "
                "expected (..., d) and (...,)."
            ) from None
        self.loc = loc.expand(*shape, loc.shape[-1])
        self.concentration = concentration.expand(shape)
        super().__init__(shape, loc.shape[-1:], validate_args=validate_args)

    @property
    def _alpha_beta(self) -> tuple[Tensor, float]:
        beta = (self.event_shape[0] - 1) / 2
        return self.concentration + beta, beta

    @property
    def _log_normalizer(self) -> Tensor:
        alpha, beta = self._alpha_beta
        return (alpha + beta) * math.log(2) + beta * math.log(math.pi) + alpha.lgamma() - (alpha + beta).lgamma()

    @property
    def mean(self) -> Tensor:
        """E[z] = μ (α − β) / (α + β), inside the sphere, `(..., d)`."""
        alpha, beta = self._alpha_beta
        return self.loc * ((alpha - beta) / (alpha + beta))[..., None]

    @property
    def variance(self) -> Tensor:
        """The variance of each element, `(..., d)`."""
        alpha, beta = self._alpha_beta
        total = alpha + beta
        along = 4 * alpha * beta / (total.square() * (total + 1))
        square = along + ((alpha - beta) / total).square()  # E[t²]
        across = (1 - square) / (self.event_shape[0] - 1)
        return across[..., None] + (along - across)[..., None] * self.loc.square()

    @property
    def mode(self) -> Tensor:
        """μ, `(..., d)`."""
        return self.loc

    def rsample(self, sample_shape: Any = _NO_SIZES) -> Tensor:
        """A draw that carries gradients of both parameters, `(*sample_shape, ..., d)`."""
        alpha, beta = self._alpha_beta
        shape = self._extended_shape(sample_shape)
        # Both parts of a Beta draw: 1 − t² = 4 z (1 − z) keeps its digits where z is nearly 1.
        z, rest = (
            Dirichlet(torch.stack([alpha, torch.full_like(alpha, beta)], -1), validate_args=False)
            .rsample(torch.Size(sample_shape))
            .unbind(-1)
        )
        tiny = torch.finfo(z.dtype).tiny
        v = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        v = torch.nn.functional.normalize(v - (v * self.loc).sum(-1, keepdim=True) * self.loc, dim=-1)
        draw = (z - rest)[..., None] * self.loc + 2 * (z * rest).clamp_min(tiny).sqrt()[..., None] * v
        return torch.nn.functional.normalize(draw, dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density with respect to the sphere's area, `(...,)`."""
        if self._validate_args:
            self._validate_sample(value)
        cosine = (self.loc * value).sum(-1)
        tiny = torch.finfo(value.dtype).eps
        return self.concentration * (1 + cosine).clamp_min(tiny).log() - self._log_normalizer

    def entropy(self) -> Tensor:
        """Log N − κ (log 2 + ψ(α) − ψ(α + β)), nats, `(...,)`."""
        alpha, beta = self._alpha_beta
        spread = math.log(2) + alpha.digamma() - (alpha + beta).digamma()
        return self._log_normalizer - self.concentration * spread

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same with a larger batch shape."""
        shape = torch.Size(batch_shape)
        return type(self)(
            self.loc.expand(*shape, *self.event_shape), self.concentration.expand(shape), validate_args=False
        )


def _kl_to_uniform(q: PowerSpherical, p: UniformSphere) -> Tensor:
    return log_area(p.event_shape[0]) - q.entropy()


register_kl(PowerSpherical, UniformSphere)(_kl_to_uniform)
