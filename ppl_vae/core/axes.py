"""The axes of a site's plates, and of the particles, whichever way these are drawn."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor

from ppl_vae.core.half import widened
from ppl_vae.core.plates import PlateStructure
from ppl_vae.errors import CheckError

PARTICLES = "_particles"
"""The name of the plate of particles."""

Scale = float | Tensor


@dataclass(frozen=True)
class Axes:
    """The axes of a site's plates in its draw and its log-density, those of particles and data among them.

    Args:
        stack: The site's stack of plates.
        structure: The shape of the pair's programs.
        particles: K.
        tiled: Whether the particles lie in the data plate, one batch after the other.
        particle: Which particle this is, if they are run one after the other.
        earlier: The noise of the particles before, if they are run one after the other.
    """

    stack: tuple[CondIndepStackFrame, ...]
    structure: PlateStructure
    particles: int = 1
    tiled: bool = False
    particle: int | None = None
    earlier: list[Tensor] = field(default_factory=list, compare=False)

    @cached_property
    def data(self) -> CondIndepStackFrame | None:
        """The frame of the data plate."""
        return self.structure.data_frame(self.stack)

    @cached_property
    def frames(self) -> list[CondIndepStackFrame]:
        """The frames that have an axis, without that of the particles, from left to right."""
        frames = [f for f in self.stack if f.dim is not None and f.name != PARTICLES]
        return sorted(frames, key=lambda f: f.dim or 0)

    @property
    def copies(self) -> int:
        """The number of particles that lie in the data plate."""
        return self.particles if self.tiled and self.data is not None else 1

    def scales(self, total: float | None) -> tuple[Scale, Scale, Scale]:
        """The scale of the program's own subsampling, of plates beside the one over data, and of the data plate.

        Args:
            total: N, for a data plate that does not subsample by itself.
        """
        own: Scale = 1.0
        inner: Scale = 1.0
        for f in self.stack:
            if f.full_size is not None and f.size > 0 and f.full_size != f.size:
                own = own * f.full_size / f.size
                inner = inner if f is self.data else inner * f.full_size / f.size
        data: Scale = 1.0
        if self.data is not None and self.data.size > 0:
            full = self.data.full_size
            if full is not None and full != self.data.size:
                data = full / self.data.size
            elif total is not None:
                data = total * self.copies / self.data.size
        return own, inner, data

    def expand(self, x: Tensor, event_dim: int = 0) -> Tensor:
        """`x` with at least `depth + 1` batch axes, those of its plates and of the particles at full size."""
        while x.dim() < self.structure.depth + 1 + event_dim:
            x = x.unsqueeze(0)
        sizes = list(x.shape)
        for f in self.frames:
            if f.size > 0:
                assert f.dim is not None
                sizes[f.dim - event_dim] = f.size
        if self.copies == 1:
            sizes[self.structure.particle_dim - event_dim] = 1 if self.particle is not None else self.particles
        try:
            return x.expand(sizes)
        except RuntimeError as error:
            raise CheckError(
                f"Got a log-density of shape {tuple(x.shape)}, expected one that its plates, the particles and the "
                f"axes of enumerated sites allow, {tuple(sizes)}. Keep each axis in its place: "
                "z.sum(-1, keepdim=True) over a plate at -1."
            ) from error

    def reduce(self, x: Tensor) -> Tensor:
        """Sum all plates but particles and data: `(…, particles, data)`, or `(…, particles)` without a data plate."""
        x = self.expand(widened(x))
        if self._others:
            x = x.sum(self._others)
        return self._untile(x)

    def place(self, weight: Tensor) -> Tensor:
        """A weight with its particle and data axes where `reduce` has them; it may not vary within other plates."""
        weight = self.expand(weight)
        for dim in self._others:
            if bool((weight != weight.narrow(dim, 0, 1)).any()):
                raise CheckError(
                    "poutine.scale varies within a plate other than the one over data; such a weight cannot be told "
                    "apart from the log-density. Give one weight per datum, or weight the density in a pyro.factor."
                )
        return self._untile(weight.amax(self._others) if self._others else weight)

    def canonical(self, value: Tensor, event_dim: int) -> Tensor:
        """A value as `(…, particles, data, other plates…, event…)`."""
        x = self.expand(value, event_dim)
        first = x.dim() - event_dim - self.structure.depth  # the axis right of the particles
        if self.data is not None:
            assert self.data.dim is not None
            x = x.movedim(self.data.dim - event_dim, first)
        plates = {f.dim for f in self.frames}
        axis = first + (self.data is not None)
        for dim in self._others:
            if dim not in plates and x.shape[axis] == 1:
                x = x.squeeze(axis)
            else:
                axis += 1
        if self.copies > 1:
            x = x.reshape(*x.shape[: first - 1], self.copies, x.shape[first] // self.copies, *x.shape[first + 1 :])
        return x

    def placed(self, values: Tensor, event_dim: int) -> Tensor:
        """Values as `(data, other plates…, event…)` with their axes where the plates have them."""
        frames = [f for f in self.frames if f is not self.data]
        first = [] if self.data is None else [self.data]
        order = {f.name: axis for axis, f in enumerate([*first, *frames])}
        batch = values.dim() - event_dim
        if batch != len(order):
            raise CheckError(f"Got values with {batch} axes beside those of an event, expected {len(order)}.")
        x = values.permute(*(order[f.name] for f in self.frames), *range(batch, values.dim()))
        dims = [f.dim or 0 for f in self.frames]
        for dim in range(min(dims, default=0), 0):
            if dim not in dims:
                x = x.unsqueeze(dim - event_dim)
        return x

    @cached_property
    def _others(self) -> list[int]:
        return [dim for dim in range(-self.structure.depth, 0) if self.data is None or dim != self.data.dim]

    def _untile(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-2], self.copies, -1) if self.copies > 1 else x

    # --- noise, mirrored or shared under every strategy

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
        if (axis := self._data_axis(event_dim)) is None:
            return eps
        if self.tiled:
            split = eps.unflatten(axis, (self.particles, -1))
            return split.narrow(axis, 0, 1).expand_as(split).flatten(axis - 1, axis)
        return eps.narrow(axis, 0, 1).expand_as(eps)

    def share_particles(self, value: Tensor, event_dim: int) -> Tensor:
        """A draw with every particle's value replaced by the first's."""
        if self.tiled or self.particle is not None:
            return value
        return value.narrow(self.structure.particle_dim - event_dim, 0, 1).expand_as(value)

    def _along_particles(self, eps: Tensor, event_dim: int, change: Callable[[Tensor, int], Tensor]) -> Tensor:
        if self.particles == 1:
            return eps
        if self.tiled:
            if (axis := self._data_axis(event_dim)) is None:
                return eps
            return change(eps.unflatten(axis, (self.particles, -1)), axis - 1).flatten(axis - 1, axis)
        axis = self.structure.particle_dim - event_dim
        return change(eps, axis) if eps.dim() >= -axis else eps

    def _data_axis(self, event_dim: int) -> int | None:
        """The axis of data in a draw, counted from the right, if the site stands in the data plate."""
        return None if self.data is None or self.data.dim is None else self.data.dim - event_dim
