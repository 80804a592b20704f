"""The latents of a model, as a derived guide knows them."""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ppl_vae.guides.family import Family


@dataclass(frozen=True)
class Site:
    """One latent of a model.

    Args:
        name: of the site.
        key: its name, as `nn.ModuleDict` allows one, and as no other site has.
        family: the variational family that fits it.
        formerly: the family that weights saved by an earlier version are of, if another one.
        batch_shape: of its distribution, filled up with ones on the left to the depth of the whole model.
        excess: number of ones that were filled in.
        data_axis: where in `batch_shape` the data are; None for a global latent.
        plates: sizes of the other plates around it.
        dims: their axes, counted from the right.
        subsample: how many data the data plate draws, where it draws some of them.
        loc: where its prior lies on the unconstrained space, `(*batch_shape without data, *family.shape)`.
        scale: how wide it is there.
        handled: whether the model masks or scales it.
        support: of one element, as its distribution says; None where that is not the whole truth.
    """

    name: str
    key: str
    family: Family
    formerly: Family | None
    batch_shape: tuple[int, ...]
    excess: int
    data_axis: int | None
    plates: dict[str, int]
    dims: dict[str, int]
    subsample: int | None
    loc: Tensor
    scale: Tensor
    handled: bool
    support: Any

    @property
    def is_local(self) -> bool:
        """True if it lies in the data plate."""
        return self.data_axis is not None

    @property
    def others(self) -> tuple[int, ...]:
        """The batch shape without the data axis."""
        return tuple(n for i, n in enumerate(self.batch_shape) if i != self.data_axis)

    @property
    def param_shape(self) -> tuple[int, ...]:
        """Shape of one parameter of one datum."""
        return (*self.others, *self.family.shape)

    @property
    def num_features(self) -> int:
        """Features that a value of one datum gives to later sites."""
        zeros = torch.zeros(1, *self.family.event_shape)
        return prod(self.others) * self.family.features(zeros).shape[-1]

    def as_features(self, value: Tensor) -> Tensor:
        """A value `(*particles, *batch_shape, *event_shape)` as `(*particles, data, features)`.

        Of a global latent as `(*particles, 1, features)`. Enumerated and unexpanded values, of length one along a
        plate, are expanded along all but the data.
        """
        event_shape, depth = self.family.event_shape, len(self.batch_shape)
        own = tuple(value.shape[: value.ndim - len(event_shape)])
        lead = (1,) * (depth - len(own)) + own
        particles = len(lead) - depth
        value = value.reshape(*lead, *event_shape)
        if self.data_axis is None:
            value = value.unsqueeze(particles)
        else:
            value = value.movedim(particles + self.data_axis, particles)
        value = value.expand(*value.shape[: particles + 1], *self.others, *event_shape)
        return self.family.features(value).flatten(particles + 1)


@dataclass(frozen=True)
class Prototype:
    """The findings of one run of a model: its latents in their order, and its data plate."""

    sites: tuple[Site, ...]
    data_plate: str | None
    hidden: frozenset[str]
