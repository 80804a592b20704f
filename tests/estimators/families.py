"""Pairs with one latent site of a given family, and their exact bounds by quadrature or enumeration.

Every datum is the same x, so a batch of R data gives R independent gradients at once. The bounds are

    ELBO    = ∫ q(z) log w(z) dz,                   w = p(x, z) / q(z),
    IWAE(2) = ∫∫ q(z) q(z') log (w(z) + w(z'))/2,

over a grid of nodes and weights in z; autograd through the sum gives their exact gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

X = 0.7


@dataclass(frozen=True)
class Family:
    """A family: its guide from two unconstrained parameters, its prior, and a grid over its support."""

    name: str
    q: Callable[[Tensor], dist.TorchDistribution]
    prior: dist.TorchDistribution
    grid: Callable[[], tuple[Tensor, Tensor]]
    phi: tuple[float, ...]
    mean: Callable[[Tensor], Tensor] = lambda z: z
    explicit: bool = True  # z = g(ε; φ) with symmetric noise
    reparameterized: bool = True


def _legendre(low: float, high: float, n: int = 400) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    half = (high - low) / 2
    return torch.from_numpy(nodes * half + (high + low) / 2), torch.from_numpy(weights * half)


def _beta_grid() -> tuple[Tensor, Tensor]:
    # z = sin²(πu/2) spreads the nodes towards 0 and 1, where Beta densities have most of their curvature.
    u, weights = _legendre(0.0, 1.0)
    return torch.sin(torch.pi * u / 2) ** 2, weights * torch.pi / 2 * torch.sin(torch.pi * u)


def _simplex_grid() -> tuple[Tensor, Tensor]:
    z, weights = _beta_grid()
    return torch.stack([z, 1 - z], -1), weights


def _gamma_grid() -> tuple[Tensor, Tensor]:
    u, weights = _legendre(np.log(1e-7), np.log(40.0))
    return u.exp(), weights * u.exp()


def d(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).squeeze()


FAMILIES = [
    Family(
        "normal",
        lambda p: dist.Normal(p[0], p[1].exp()),
        dist.Normal(d(0.0), d(1.0)),
        lambda: _legendre(-9.0, 9.0),
        (0.3, -0.4),
    ),
    Family(
        "student_t",
        lambda p: dist.StudentT(d(9.0), p[0], p[1].exp()),
        dist.StudentT(d(8.0), d(0.0), d(1.0)),
        lambda: _legendre(-30.0, 30.0, 900),
        (0.2, -0.5),
        explicit=False,
    ),
    Family(
        "gamma",
        lambda p: dist.Gamma(2.0 + p[0].exp(), p[1].exp()),
        dist.Gamma(d(2.0), d(1.5)),
        _gamma_grid,
        (0.1, 0.6),
        explicit=False,
    ),
    Family(
        "beta",
        lambda p: dist.Beta(1.5 + p[0].exp(), 1.5 + p[1].exp()),
        dist.Beta(d(2.0), d(3.0)),
        _beta_grid,
        (0.3, 0.0),
        mean=lambda z: 2 * z,
        explicit=False,
    ),
    Family(
        "dirichlet",
        lambda p: dist.Dirichlet(1.5 + p.exp()),
        dist.Dirichlet(d(2.0, 2.5)),
        _simplex_grid,
        (0.3, 0.0),
        mean=lambda z: 2 * z[..., 0],
        explicit=False,
    ),
    Family(
        "von_mises",
        lambda p: dist.VonMises(p[0], p[1].exp()),
        dist.VonMises(d(0.0), d(1.0)),
        lambda: _legendre(-np.pi, np.pi),
        (0.4, 0.5),
        mean=lambda z: z.cos() + z.sin(),
        explicit=False,
    ),
    Family(
        "categorical",
        lambda p: dist.Categorical(logits=torch.cat([p, torch.zeros_like(p[:1])])),
        dist.Categorical(probs=d(0.2, 0.3, 0.5)),
        lambda: (torch.arange(3), torch.ones(3, dtype=torch.float64)),
        (0.4, -0.6),
        mean=lambda z: z.to(torch.float64) - 1.0,
        reparameterized=False,
    ),
]
BY_NAME = {family.name: family for family in FAMILIES}


class Guide(nn.Module):
    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family
        self.phi = nn.Parameter(torch.tensor(family.phi, dtype=torch.float64))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", self.family.q(self.phi))


class Model(nn.Module):
    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family
        self.scale = nn.Parameter(torch.tensor(0.8, dtype=torch.float64))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self.family.prior)
            pyro.sample("x", dist.Normal(self.family.mean(z), self.scale), obs=x)


def exact(family: Family, phi: Tensor, scale: Tensor, particles: int) -> Tensor:
    """The bound of one datum x = X, of the ELBO (`particles` = 1) or IWAE(2)."""
    z, weights = family.grid()
    q = family.q(phi)
    log_q = q.log_prob(z)
    log_p = family.prior.log_prob(z) + dist.Normal(family.mean(z), scale).log_prob(torch.tensor(X).double())
    mass = weights * log_q.exp()
    if particles == 1:
        return (mass * (log_p - log_q)).sum()
    log_w = log_p - log_q
    pair = torch.logaddexp(log_w[:, None], log_w[None]) - np.log(2.0)
    return (mass[:, None] * mass[None] * pair).sum()


def exact_gradient(family: Family, particles: int) -> tuple[Tensor, Tensor, Tensor]:
    """The exact bound and its gradients in the guide's φ and the model's scale."""
    phi = torch.tensor(family.phi, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    value = exact(family, phi, scale, particles)
    grads = torch.autograd.grad(value, (phi, scale))
    return value.detach(), *grads
