"""The interface between a derived guide and a variational family for one latent."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from pyro.distributions import Delta
from torch import Tensor, nn

from ppl_vae.distributions.unwrap import innermost


class Family(ABC):
    """A variational family over the support and event shape of one latent.

    Args:
        fn: the latent's distribution in the model.
    """

    label: str
    """Its name in tables."""

    num_params: int
    """Numbers per element of `shape`."""

    num_rest: int = 0
    """Numbers per latent besides: correlations, or what a flow depends on."""

    def __init__(self, fn: Any) -> None:
        self.event_shape = tuple(fn.event_shape)
        self.shape = self.event_shape
        """Shape of one parameter of one datum."""

    @abstractmethod
    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """`num_params` tensors `(..., *shape)` to a distribution over the event shape.

        `fn`, the latent's distribution in the present run of the model, tells a support that moves.
        """

    def joint(self, raw: tuple[Tensor, ...], start: tuple[Tensor, Tensor], rest: Tensor, flows: Any, fn: Any) -> Any:
        """The distribution from raw outputs, where it starts, `num_rest` numbers `(..., num_rest)`, and `flows`."""
        return self.distribution(self.in_prior_units(raw, *start), fn)

    def flows(self, local: bool) -> list[nn.Module]:
        """Modules of flows that the site's head owns and hands to `joint`; told numbers `rest` if the site is local."""
        return []

    def features(self, value: Tensor) -> Tensor:
        """A value `(..., *event_shape)` as numbers of order one `(..., features)`."""
        return self._flat(value)

    def start(self, draws: Tensor, fn: Any) -> tuple[Tensor, Tensor]:
        """Location and spread `(..., *shape)` from which to start, seen in prior draws `(draws, ...)`."""
        shape = draws.shape[1 : draws.ndim - len(self.event_shape)] + self.shape
        return torch.zeros(shape), torch.ones(shape)

    def in_prior_units(self, raw: tuple[Tensor, ...], loc: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """Raw network outputs, of order one, as parameters."""
        return raw

    def _flat(self, value: Tensor) -> Tensor:
        n = len(self.event_shape)
        return value.flatten(-n) if n else value.unsqueeze(-1)


class Own(Family):
    """The model's own point: a value that follows from others, with nothing to learn, of probability one."""

    label = "the model's own"
    num_params = 0

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """The point; a density that the model gives it is the model's alone."""
        point = innermost(fn)
        q = Delta(point.v, event_dim=point.event_dim)
        return q.to_event(len(self.event_shape) - point.event_dim).expand(fn.batch_shape)


def sound_start(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Where draws tell nothing, 0 and 1."""
    sound = loc.isfinite() & scale.isfinite() & (scale > 1e-8)
    return torch.where(sound, loc, torch.zeros_like(loc)), torch.where(sound, scale, torch.ones_like(scale))
