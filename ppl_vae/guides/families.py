"""For any distribution of a latent: a variational family over the same support, and its values as features."""

from abc import ABC, abstractmethod
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import biject_to, constraints
from torch.distributions.constraints import MixtureSameFamilyConstraint

from ppl_vae.distributions.counts import PoissonLog
from ppl_vae.distributions.unwrap import family, innermost
from ppl_vae.errors import PplVaeError
from ppl_vae.nn.features import one_hot
from ppl_vae.nn.heads import inverse_softplus, positive

INVERSE_SOFTPLUS_1 = inverse_softplus(1.0)


class Family(ABC):
    """A variational family over the support and event shape of one latent.

    Args:
        fn: the latent's distribution in the model.
    """

    num_params: int
    """Numbers per element of `shape`."""

    def __init__(self, fn: Any) -> None:
        self.event_shape = tuple(fn.event_shape)
        self.shape = self.event_shape
        """Shape of one parameter of one datum."""

    @abstractmethod
    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """`num_params` tensors `(..., *shape)` to a distribution over the event shape.

        `fn`, the latent's distribution in the present run of the model, tells a support that moves.
        """

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


class Continuous(Family):
    """A diagonal normal, carried onto the support by the bijection that torch registers for it."""

    num_params = 2

    def __init__(self, fn: Any) -> None:
        super().__init__(fn)
        # Of the whole shape: bounds that differ between data have batch axes of their own.
        batch = tuple(fn.batch_shape)
        self.shape = tuple(biject_to(support_of(fn)).inverse_shape(torch.Size((*batch, *fn.event_shape))))[len(batch) :]
        support = _innermost(support_of(fn))
        half_line = isinstance(support, constraints.greater_than | constraints.greater_than_eq)
        self.is_positive = half_line and bool(torch.as_tensor(support.lower_bound == 0).all())

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """Location and scale on the unconstrained space."""
        loc, scale = params
        base = dist.Normal(loc, scale).to_event(len(self.shape))
        if _innermost(support_of(fn)) in (constraints.real, constraints.real_vector):
            return base  # closed forms of the KL know this one
        out = dist.TransformedDistribution(base, [biject_to(support_of(fn))])
        return out.to_event(len(self.event_shape) - out.event_dim)

    def in_prior_units(self, raw: tuple[Tensor, ...], loc: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """Location and scale on the unconstrained space."""
        return loc + scale * raw[0], scale * positive(raw[1] + INVERSE_SOFTPLUS_1)

    def features(self, value: Tensor) -> Tensor:
        """The value itself, or its logarithm for positive values."""
        tiny = torch.finfo(value.dtype).tiny
        return self._flat(value.clamp(min=tiny).log() if self.is_positive else value)

    def start(self, draws: Tensor, fn: Any) -> tuple[Tensor, Tensor]:
        """Median and standard deviation of the draws on the unconstrained space."""
        free = biject_to(support_of(fn)).inv(draws)
        loc, scale = free.median(0).values, free.std(0)
        sound = loc.isfinite() & scale.isfinite() & (scale > 1e-8)
        return torch.where(sound, loc, torch.zeros_like(loc)), torch.where(sound, scale, torch.ones_like(scale))


class Circle(Family):
    """Von Mises: a normal on the line would be no density over angles."""

    num_params = 2

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """Angle and raw concentration."""
        loc, raw = params
        return dist.VonMises(loc, positive(raw)).to_event(len(self.event_shape))

    def features(self, value: Tensor) -> Tensor:
        """Cosine and sine."""
        return torch.stack([value.cos(), value.sin()], -1).flatten(-1 - len(self.event_shape))


class Binary(Family):
    """Bernoulli, by logits."""

    num_params = 1

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """Logits."""
        return dist.Bernoulli(logits=params[0]).to_event(len(self.event_shape))


class OneHot(Family):
    """One-hot categorical, by logits."""

    num_params = 1

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """Logits."""
        return dist.OneHotCategorical(logits=params[0]).to_event(len(self.event_shape) - 1)


class Finite(Family):
    """Categorical over 0 … n-1, by logits; later sites see it one-hot."""

    num_params = 1

    def __init__(self, fn: Any, n: int) -> None:
        super().__init__(fn)
        self.n = n
        self.shape = (*self.event_shape, n)

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """Logits."""
        return dist.Categorical(logits=params[0]).to_event(len(self.event_shape))

    def features(self, value: Tensor) -> Tensor:
        """One-hot."""
        return one_hot(value, self.n).flatten(-1 - len(self.event_shape))


class Count(Family):
    """Poisson, by log rates; later sites see log(1 + count)."""

    num_params = 1

    def distribution(self, params: tuple[Tensor, ...], fn: Any) -> Any:
        """Log rates."""
        return PoissonLog(params[0]).to_event(len(self.event_shape))

    def features(self, value: Tensor) -> Tensor:
        """Its log(1 + count)."""
        return self._flat(value.log1p())


def family_for(name: str, fn: Any) -> Family:
    """The variational family for one latent of a model.

    Args:
        name: of the site, for the message of a refusal.
        fn: its distribution in the model.

    Raises:
        PplVaeError: no family is known for its support.
    """
    base = innermost(fn)
    if isinstance(base, torch.distributions.VonMises):
        return Circle(fn)
    if isinstance(base, torch.distributions.Bernoulli):
        return Binary(fn)
    if isinstance(base, torch.distributions.OneHotCategorical):
        return OneHot(fn)
    try:
        support = _innermost(support_of(fn))
    except NotImplementedError:  # a distribution of another library may not tell it
        support = None
    if support is None:
        pass
    elif support.is_discrete:
        if base.has_enumerate_support and not base.event_shape:
            values = base.enumerate_support(expand=False).flatten()
            if torch.equal(values.long(), torch.arange(len(values), device=values.device)):
                return Finite(fn, len(values))
        elif support is constraints.nonnegative_integer:
            return Count(fn)
    else:
        try:
            return Continuous(fn)
        except NotImplementedError:
            pass
    raise PplVaeError(
        f"site {name!r}: no variational family is known for {family(fn)} with support {support}. "
        "Write this site's guide by hand, or leave the site out and have the model sum over it."
    )


def support_of(fn: Any) -> Any:
    """The support as torch's bijections know it: that of a mixture is that of its components."""

    def plain(support: Any) -> Any:
        if isinstance(support, constraints.independent):
            return constraints.independent(plain(support.base_constraint), support.reinterpreted_batch_ndims)
        if isinstance(support, MixtureSameFamilyConstraint):
            return plain(support.base_constraint)
        return support

    return plain(fn.support)


def _innermost(support: Any) -> Any:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support
