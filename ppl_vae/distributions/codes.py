"""Codes: vectors of a few whole numbers each; a probability over them, and the one that is nearest to a real vector."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.errors import ArgumentError
from ppl_vae.kinds import misfit, shown

MOST_LEVELS = 2**16
"""Values of one element at most."""


def check_levels(levels: Any) -> tuple[int, ...]:
    """The numbers of values of a code's elements.

    Raises:
        ArgumentError: there are none, or one is below 2.
    """
    if misfit(levels, Sequence[int]) or not levels or not all(2 <= n <= MOST_LEVELS for n in levels):
        raise ArgumentError(
            f"Got levels={shown(levels)}, expected the number of values of each element of the code, from 2 to "
            f"{MOST_LEVELS}, such as [8, 5, 5, 5]."
        )
    return tuple(int(n) for n in levels)


class _OnCodes(TorchDistribution):
    """A distribution over vectors z with z_d in 0 … levels[d] − 1."""

    arg_constraints: Any = {}  # noqa: RUF012 - torch's own form
    levels: tuple[int, ...]

    @property
    def support(self) -> Any:
        """Whole numbers from 0 to levels − 1, element by element."""
        return constraints.independent(constraints.integer_interval(0, self._like() - 1), 1)

    def _like(self) -> Tensor:
        return torch.tensor(self.levels)


class Codes(_OnCodes):
    r"""$p(z) = \prod_d p(z_d \mid z_{<d})$ over vectors z of whole numbers, $z_d \in \{0, \dots, L_d - 1\}$.

    Args:
        levels: L.
        logits: of each element's values, `(dim, values)`; or a function that gives them, `(..., dim, values)`, from z
            `(..., dim)`, those of element d from the elements before it. Values from L_d on have no probability.
        batch_shape: of the distribution.

    Example:
        >>> Codes([2, 3], torch.zeros(2, 3)).log_prob(torch.tensor([1.0, 2.0])).exp()
        tensor(0.1667)
    """

    def __init__(
        self,
        levels: Sequence[int],
        logits: Tensor | Callable[[Tensor], Tensor],
        batch_shape: Sequence[int] = torch.Size(),
    ) -> None:
        self.levels, self.logits = check_levels(levels), logits
        super().__init__(torch.Size(batch_shape), torch.Size((len(self.levels),)), validate_args=False)

    def log_probs(self, value: Tensor) -> Tensor:
        """Log probabilities of all values of each element given those before it, `(..., dim, values)`."""
        logits = self.logits if isinstance(self.logits, Tensor) else self.logits(value)
        level = torch.arange(logits.shape[-1], device=logits.device)
        absent = level >= self._like().to(logits.device)[:, None]
        return logits.masked_fill(absent, -torch.inf).log_softmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability in nats; −∞ where value is no code."""
        log_probs, index = self.log_probs(value), value.long()
        legal = (value == index) & (index >= 0) & (index < log_probs.shape[-1])
        index = index.clamp(0, log_probs.shape[-1] - 1).unsqueeze(-1)
        log_probs = log_probs.expand(*index.shape[:-1], log_probs.shape[-1])
        found = log_probs.gather(-1, index).squeeze(-1).masked_fill(~legal, -torch.inf).sum(-1)
        return found.expand(torch.broadcast_shapes(found.shape, self.batch_shape))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - torch's own signature
        """A draw, element by element."""
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.batch_shape
            like = self.logits if isinstance(self.logits, Tensor) else self.logits(torch.zeros(len(self.levels)))
            z = like.new_zeros(*shape, len(self.levels))
            for d in range(len(self.levels)):
                log_probs = self.log_probs(z)[..., d, :].expand(*shape, -1)
                z[..., d] = torch.distributions.Categorical(logits=log_probs, validate_args=False).sample()
            return z

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same with a larger batch shape."""
        return type(self)(self.levels, self.logits, batch_shape)


class OneCode(_OnCodes):
    """All mass on one code, `mean`; abstract."""

    has_rsample = True

    @property
    def mean(self) -> Tensor:
        """The code, `(..., dim)`."""
        raise NotImplementedError

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.mean)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - torch's own signature
        """The code, with the gradient that it has."""
        code = self.mean
        return code.expand(torch.Size(sample_shape) + code.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """0 where value is the code, else −∞."""
        code = self.mean
        same = (value == code).all(-1)
        return torch.zeros_like(same, dtype=code.dtype).masked_fill(~same, -torch.inf)


class Rounded(OneCode):
    r"""All mass on one code, $z_d = \mathrm{round}(L_d\, \sigma(h_d) - \tfrac12)$: each value has an equal share of σ.

    A draw carries the gradient of $L_d\, \sigma(h_d)$, as if it had not been rounded (straight through).

    Args:
        raw: h `(..., dim)`.
        levels: L.

    References:
        Mentzer, Minnen, Agustsson and Tschannen (2024), Finite Scalar Quantization: VQ-VAE Made Simple,
            https://arxiv.org/abs/2309.15505

    Example:
        >>> Rounded(torch.tensor([-9.0, 0.1, 9.0]), [2, 5, 8]).sample()
        tensor([0., 2., 7.])
    """

    def __init__(self, raw: Tensor, levels: Sequence[int]) -> None:
        self.levels, self.raw = check_levels(levels), raw
        if raw.dim() == 0 or raw.shape[-1] != len(self.levels):
            raise ArgumentError(f"Got raw of shape {tuple(raw.shape)}, expected (…, {len(self.levels)}), as levels.")
        super().__init__(raw.shape[:-1], raw.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The code."""
        levels = self._like().to(self.raw)
        place = levels * self.raw.sigmoid()
        code = torch.minimum((place.detach() - 0.5).round().clamp(min=0), levels - 1)
        return code + (place - place.detach())  # exactly the code

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same with a larger batch shape."""
        return type(self)(self.raw.expand(*batch_shape, self.raw.shape[-1]), self.levels)
