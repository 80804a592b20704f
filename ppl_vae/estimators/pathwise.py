"""Pathwise: the gradient flows through the draw."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ppl_vae.estimators.noise import explicit


@dataclass(frozen=True)
class Pathwise:
    r"""Draw z = g(ε; φ) with ε free of parameters, and differentiate through g.

    $$\nabla_\phi \mathbb{E}_{q_\phi}[f(z)] = \mathbb{E}_{p(\epsilon)}[\nabla_z f(z)\, \nabla_\phi g(\epsilon; \phi)]$$

    The site keeps its name, its distribution and its log q; ε has no density of its own. Where g is not explicit
    (Gamma, Beta, Dirichlet, Student-t) torch differentiates the draw implicitly (Figurnov et al. 2018).

    Args:
        antithetic: Draw particles in pairs ε, −ε (for noise that is symmetric about 0). Each draw has the right law,
            and the mean over particles a smaller variance wherever f is close to linear.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114
    """

    antithetic: bool = False

    score: ClassVar[bool] = False
    enumerates: ClassVar[bool] = False

    def draw(self, q: Any, particle_dim: int | None = None) -> Tensor:
        """A draw that carries a gradient."""
        transport = explicit(q)
        if transport is None:
            if self.antithetic:
                raise ValueError(
                    f"Antithetic draws need explicit symmetric noise, which {type(q).__name__} does not have. "
                    "Use Pathwise(antithetic=False) for this site."
                )
            return q.rsample()
        noise, g = transport
        with torch.no_grad():
            eps = noise.sample()
            if self.antithetic:
                eps = mirrored(eps, noise, particle_dim)
        return g(eps)


def mirrored(eps: Tensor, noise: Any, particle_dim: int | None) -> Tensor:
    """ε with its second half of particles replaced by the first half's mirror images."""
    axis = None if particle_dim is None else particle_dim - noise.event_dim
    if axis is None or eps.dim() < -axis or eps.shape[axis] < 2:
        return eps
    half = (eps.shape[axis] + 1) // 2
    first = eps.narrow(axis, 0, half)
    mean = noise.mean  # 0 for location-scale families, 1/2 for the uniform
    image = (2 * mean - eps).narrow(axis, 0, eps.shape[axis] - half)
    return torch.cat([first, image], axis)
