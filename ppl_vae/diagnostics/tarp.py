"""TARP: are the draws of all latents together where the truth is?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ppl_vae.sites import Site

TARP: Final = "TARP"
"""The name under which ranks of all latents together stand beside those of sites."""


class Tarp:
    """Reference points in latent space, each a random linear function of its datum.

    A reference that did not depend on x would let a guide pass that always gives the prior.

    Args:
        batch: simulated data, from which x and the prior take their scales.
        latent: their latents.

    Reference:
        Lemos, Coogan, Hezaveh, Perreault-Levasseur (2023), Sampling-based accuracy testing of posterior estimators for
        general inference, ICML.
    """

    def __init__(self, batch: tuple[Any, ...], latent: "Mapping[str, Site]") -> None:
        values = {name: site.value[0] for name, site in latent.items() if site.is_local}
        self.names = [name for name, value in values.items() if value.is_floating_point()]
        if not self.names:
            return
        z, x = _rows(values, self.names), _data(batch)
        self.location, self.scale = z.mean(0), z.std(0).clamp(min=1e-12)
        self.centre, self.spread = x.mean(0), x.std(0).clamp(min=1e-6)
        self.direction = torch.randn(x.shape[1], z.shape[1], dtype=torch.float64).to(z.device) / x.shape[1] ** 0.5

    def start(self, batch: tuple[Any, ...], truths: Mapping[str, Tensor]) -> "Nearer":
        """Take simulated data and their latents."""
        if not self.names:
            return Nearer(self)
        reference = ((_data(batch) - self.centre) / self.spread).clamp(-10, 10) @ self.direction
        truth = self.standard(_rows(truths, self.names))
        return Nearer(self, reference, (truth - reference).norm(dim=-1))

    def standard(self, z: Tensor) -> Tensor:
        """In units of the prior's standard deviations."""
        return (z - self.location) / self.scale


@dataclass
class Nearer:
    """Counts the draws that are nearer to the reference than the truth, and ties, `(2, data)`."""

    tarp: Tarp
    reference: Tensor | None = None
    distance: Tensor | None = None
    count: Tensor | None = None

    def update(self, values: Mapping[str, Tensor]) -> None:
        """Take draws of the guide, `(particles, data, …)` by site."""
        if self.reference is None or any(name not in values for name in self.tarp.names):
            return
        rows = torch.cat([_flat(values[name], 2) for name in self.tarp.names], dim=-1)
        distance = (self.tarp.standard(rows) - self.reference).norm(dim=-1)
        found = torch.stack([(distance < self.distance).sum(0), (distance == self.distance).sum(0)])
        self.count = found if self.count is None else self.count + found


def _flat(value: Tensor, lead: int) -> Tensor:
    return value.double().flatten(lead) if value.dim() > lead else value.double().unsqueeze(-1)


def _rows(values: Mapping[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([_flat(values[name], 1) for name in names], dim=-1)


def _data(batch: tuple[Any, ...]) -> Tensor:
    return _flat(next(part for part in batch if isinstance(part, Tensor)), 1)
