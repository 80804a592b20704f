"""The axes of particles and data in a draw, by which noise is mirrored or shared under every strategy."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class ParticleAxes:
    """The axes of one site's draw.

    Args:
        particles: K.
        particle_dim: The batch dimension of particles, if they have one of their own.
        data_dim: The batch dimension of the data plate, if the site stands in it.
        tiled: Whether the particles lie in the data plate, one batch after the other.
        particle: Which particle this is, if they are drawn one after the other.
        earlier: The noise of the particles before, if they are drawn one after the other.
    """

    particles: int = 1
    particle_dim: int | None = None
    data_dim: int | None = None
    tiled: bool = False
    particle: int | None = None
    earlier: list[Tensor] = field(default_factory=list)

    def mirror(self, eps: Tensor, noise: Any) -> Tensor:
        """ε with its second half of particles replaced by the mirror images of the first half."""
        half = (self.particles + 1) // 2
        if self.particle is not None:
            self.earlier.append(eps)
            return 2 * noise.mean - self.earlier[self.particle - half] if self.particle >= half else eps

        def images(e: Tensor, axis: int) -> Tensor:
            image = 2 * noise.mean.expand_as(eps).reshape(e.shape) - e
            return torch.cat([e.narrow(axis, 0, half), image.narrow(axis, 0, e.shape[axis] - half)], axis)

        return self._along_particles(eps, noise.event_dim, images)

    def share(self, eps: Tensor, event_dim: int) -> Tensor:
        """ε with every datum's noise replaced by the first datum's."""
        if self.data_dim is None:
            return eps
        axis = self.data_dim - event_dim
        if self.tiled:
            split = eps.unflatten(axis, (self.particles, -1))
            return split.narrow(axis, 0, 1).expand_as(split).flatten(axis - 1, axis)
        return eps.narrow(axis, 0, 1).expand_as(eps)

    def share_particles(self, value: Tensor, event_dim: int) -> Tensor:
        """A draw with every particle's value replaced by the first's."""
        if self.particle_dim is None:
            return value
        return value.narrow(self.particle_dim - event_dim, 0, 1).expand_as(value)

    def _along_particles(self, eps: Tensor, event_dim: int, change: Callable[[Tensor, int], Tensor]) -> Tensor:
        if self.particles == 1:
            return eps
        if self.tiled and self.data_dim is not None:
            axis = self.data_dim - event_dim
            return change(eps.unflatten(axis, (self.particles, -1)), axis - 1).flatten(axis - 1, axis)
        if self.particle_dim is not None and eps.dim() >= -(self.particle_dim - event_dim):
            return change(eps, self.particle_dim - event_dim)
        return eps
