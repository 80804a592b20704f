"""Families over discrete latents: categories, bits, one-hot vectors, counts."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.distributions.bijections import upper_bound
from ppl_vae.distributions.counts import PoissonLog
from ppl_vae.distributions.root_normal import FAR, RootNormal
from ppl_vae.errors import PplVaeError
from ppl_vae.guides.family import Family, sound_start
from ppl_vae.nn.features import one_hot
from ppl_vae.nn.heads import inverse_softplus, positive

INVERSE_SOFTPLUS_1 = inverse_softplus(1.0)

MIN_ROOT_SCALE = 0.02
"""Least width of a root: of counts up to 600 one alone then has nearly all the mass."""


class Binary(Family):
    """Bernoulli, by logits."""

    label = "bernoulli"
    num_params = 1

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """Logits."""
        return dist.Bernoulli(logits=params[0]).to_event(len(self.event_shape))


class OneHot(Family):
    """One-hot categorical, by logits."""

    label = "one_hot"
    num_params = 1

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """Logits."""
        return dist.OneHotCategorical(logits=params[0]).to_event(len(self.event_shape) - 1)


class Finite(Family):
    """Categorical over 0 … n-1, by logits; later sites see it one-hot."""

    label = "categorical"
    num_params = 1

    def __init__(self, name: str, fn: Any, n: int) -> None:
        super().__init__(fn)
        self.name, self.n = name, n
        self.shape = (*self.event_shape, n)

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """Logits."""
        upper = upper_bound(fn)
        if type(upper) is Tensor and bool((upper != self.n - 1).any()):  # and no stand-in of a capture
            raise PplVaeError(
                f"{self.name!r} counts up to {upper.max():.0f} now, and counted up to {self.n - 1} on all of the "
                "batch from which its derived guide was built. Build the guide from a batch in which numbers of trials "
                "differ, as in pv.prepare(vae, batch)."
            )
        return dist.Categorical(logits=params[0]).to_event(len(self.event_shape))

    def features(self, value: Tensor) -> Tensor:
        """One-hot."""
        return one_hot(value, self.n).flatten(-1 - len(self.event_shape))


class Poisson(Family):
    """Poisson, by log rates; later sites see log(1 + count)."""

    label = "poisson"
    num_params = 1

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """Log rates."""
        return PoissonLog(params[0]).to_event(len(self.event_shape))

    def features(self, value: Tensor) -> Tensor:
        """Its log(1 + count)."""
        return self._flat(value.log1p())


class Counts(Poisson):
    """A normal over the square root of a count, whose width is free; bounds are the model's in the present run."""

    label = "root_normal"
    num_params = 2

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """Location and scale of the root."""
        loc, scale = params
        bound = upper_bound(fn)
        upper = torch.as_tensor(torch.inf if bound is None else bound, dtype=loc.dtype, device=loc.device)
        loc = torch.minimum(loc, (upper.clamp(max=FAR) + 1).sqrt())
        return RootNormal(loc, scale, upper, bounded=bound is not None).to_event(len(self.event_shape))

    def in_prior_units(self, raw: tuple[Tensor, ...], loc: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """Location and scale of the root, both positive."""
        spread = scale * positive(raw[1] + INVERSE_SOFTPLUS_1) + MIN_ROOT_SCALE
        return positive(loc + scale * raw[0]), spread

    def start(self, draws: Tensor, fn: Any) -> tuple[Tensor, Tensor]:
        """Median, as `positive` takes it, and standard deviation of the roots of the draws."""
        root = (draws + 0.5).sqrt()
        loc = root.median(0).values
        return sound_start(loc + torch.log(-torch.expm1(-loc)), root.std(0))
