"""Columns of a table, each with a family of its own, as one distribution of independent elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.errors import ArgumentError
from ppl_vae.kinds import shown


class Levels(dist.Categorical):
    r"""Codes 0, …, K − 1 as numbers, each column with its own K: $\log p(k) = \eta_k - \log\sum_j e^{\eta_j}$.

    Args:
        logits: η, `(…, columns, most)`; −∞ from a column's K on.
        count: K, `(columns,)`.

    Raises:
        ArgumentError: they are no tensors, or have no axis of codes.
    """

    def __init__(self, logits: Tensor, count: Tensor) -> None:
        _require(Tensor, logits=logits, count=count)
        try:
            super().__init__(logits=logits, validate_args=False)
        except (ValueError, RuntimeError) as error:
            raise ArgumentError(f"Got logits that make no codes ({error}), expected (…, columns, codes).") from None
        self.count = count

    @property
    def support(self) -> Any:
        """0 … K − 1."""
        return constraints.integer_interval(0, self.count - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability in nats."""
        return super().log_prob(value.long())

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - torch's own signature
        """A draw of codes, of the dtype of the logits."""
        return super().sample(sample_shape).to(self.logits.dtype)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Levels:
        """The same distribution with a larger batch shape."""
        return Levels(self.logits.expand(*batch_shape, self.logits.shape[-1]), self.count)


def _require(kind: type, **values: Any) -> None:
    """Refuse what is of another kind; looked at here, as distributions are made at each step of training."""
    for name, value in values.items():
        if not isinstance(value, kind):
            raise ArgumentError(f"Got {name}={shown(value)}, expected a {kind.__name__}.")


class Columns(TorchDistribution):
    r"""Independent columns, those of one family side by side in a part: $\log p(x_d)$ by element.

    What the mean is to numbers, the most probable code is to codes. Averages over draws of parameters are taken of
    `expectation`, in which a column of codes has its probabilities, and brought back by `point`.

    Args:
        parts: by a name of their own, distributions of single elements, `(…, columns of that family)`.
        places: by the same names, the places of their columns, int64 `(columns,)`; together 0, …, D − 1.
        order: the places that undo these, one part after the other; worked out if left out.

    Raises:
        ArgumentError: the parts have other columns than `places` says.

    Example:
        >>> levels = Levels(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([3]))
        >>> parts = {"real": dist.Normal(torch.zeros(1), 1.0), "category": levels}
        >>> px = Columns(parts, {"real": torch.tensor([1]), "category": torch.tensor([0])})
        >>> px.mean, px.log_prob(torch.tensor([2.0, 0.0])).round(decimals=3)
        (tensor([1., 0.]), tensor([-1.4080, -0.9190]))
    """

    arg_constraints: Any = {}  # noqa: RUF012 - torch's own form

    def __init__(
        self,
        parts: Mapping[str, Any],
        places: Mapping[str, Tensor],
        order: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        _require(Mapping, parts=parts, places=places)
        _require(dist.Distribution, **{f"parts[{name!r}]": part for name, part in parts.items()})
        _require(Tensor, **{f"places[{name!r}]": place for name, place in places.items()})
        if not (order is None or isinstance(order, Tensor)) or not (
            validate_args is None or isinstance(validate_args, bool)
        ):
            raise ArgumentError(f"Got order={shown(order)}, validate_args={shown(validate_args)}: leave them out.")
        widths = {name: part.batch_shape[-1] if part.batch_shape else 0 for name, part in parts.items()}
        told = {name: len(place) for name, place in places.items()}
        if not parts or widths != told:
            raise ArgumentError(f"Got parts of {widths} columns for places {told}, expected as many of each.")
        lead = torch.broadcast_shapes(*(part.batch_shape[:-1] for part in parts.values()))
        self.named_parts = {n: p if p.batch_shape[:-1] == lead else _spread(p, lead) for n, p in parts.items()}
        self.named_places = dict(places)
        self.parts, self.places = list(self.named_parts.values()), [places[name] for name in parts]
        self.order = torch.cat(self.places).argsort() if order is None else order
        super().__init__(torch.Size((*lead, sum(widths.values()))), validate_args=validate_args)

    @property
    def support(self) -> Any:
        """Of each column its own."""
        return _EachItsOwn([part.support for part in self.parts], self.places, self.order)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of each element in nats."""
        if self._validate_args:
            self._validate_sample(value)
        pairs = zip(self.parts, self.places, strict=True)
        return self._join([part.log_prob(value[..., place]) for part, place in pairs])

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - torch's own signature
        """A draw; codes are numbers of the others' dtype."""
        return self._join([part.sample(sample_shape) for part in self.parts])

    @property
    def expectation(self) -> Tensor:
        """Means of numbers and probabilities of codes, `(…, numbers + codes)`: what may be averaged."""
        found = [part.probs.flatten(-2) if isinstance(part, Levels) else part.mean for part in self.parts]
        return torch.cat(found, -1)

    def point(self, expectation: Tensor) -> Tensor:
        """Averages of `expectation` as values: the means, and the most probable codes."""
        most = [part.logits.shape[-1] if isinstance(part, Levels) else 0 for part in self.parts]
        pairs = list(zip(self.places, most, strict=True))
        cut = expectation.split([len(place) * (k or 1) for place, k in pairs], -1)
        found = [
            e.unflatten(-1, (len(p), k)).argmax(-1).to(e) if k else e for e, (p, k) in zip(cut, pairs, strict=True)
        ]
        return self._join(found)

    @property
    def mean(self) -> Tensor:
        """Means of numbers, the most probable codes."""
        return self.point(self.expectation)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Columns:
        """The same distribution with a larger batch shape."""
        parts = {name: _spread(part, batch_shape[:-1]) for name, part in self.named_parts.items()}
        return Columns(parts, self.named_places, self.order, validate_args=self._validate_args)

    def _join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts), -1)[..., self.order]


def _spread(part: Any, lead: Any) -> Any:
    return part.expand((*lead, part.batch_shape[-1]))


class _EachItsOwn(constraints.Constraint):
    """The support of each column."""

    inside = 1.0
    """A value in every one of them: it stands where a value is missing."""

    def __init__(self, supports: Sequence[Any], places: Sequence[Tensor], order: Tensor) -> None:
        self.supports, self.places, self.order = list(supports), list(places), order
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """True where a value is in the support of its column."""
        found = [s.check(value[..., place]) for s, place in zip(self.supports, self.places, strict=True)]
        return torch.cat(found, -1)[..., self.order]

    def __repr__(self) -> str:
        return "EachColumnItsOwn()"
