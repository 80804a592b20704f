"""The Beta distribution where its density is a number: between 0 and 1, without the two."""

from typing import Any, Self

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.distributions.elementwise import together
from ppl_vae.errors import ArgumentError


class OpenInterval(constraints.Constraint):
    """The numbers between two bounds, without these.

    Args:
        lower_bound: below all of them.
        upper_bound: above all of them.

    Example:
        >>> import torch
        >>> OpenInterval(0.0, 1.0).check(torch.tensor([0.0, 0.5, 1.0]))
        tensor([False,  True, False])
    """

    def __init__(self, lower_bound: float, upper_bound: float) -> None:
        self.lower_bound, self.upper_bound = lower_bound, upper_bound

    def check(self, value: Tensor) -> Tensor:
        """True for values inside."""
        return (self.lower_bound < value) & (value < self.upper_bound)


class OpenBeta(dist.Beta):
    r"""$p(x) \propto x^{a-1} (1-x)^{b-1}$ on 0 < x < 1, at whose ends it is 0 or infinite for nearly all a and b.

    Torch's own support holds both ends, so that data which touch them pass, and train to an infinite density.

    Args:
        concentration1: a.
        concentration0: b.

    Raises:
        ArgumentError: they are no tensors of numbers above 0 that go together.

    Example:
        >>> import torch
        >>> OpenBeta(torch.tensor(2.0), torch.tensor(1.0)).log_prob(torch.tensor(0.5))
        tensor(0.)
        >>> OpenBeta.support.check(torch.tensor(1.0))
        tensor(False)
    """

    support: Any = OpenInterval(0.0, 1.0)

    def __init__(self, concentration1: Tensor, concentration0: Tensor, validate_args: bool | None = None) -> None:
        a, b = together(validate_args, concentration1=concentration1, concentration0=concentration0)
        try:
            super().__init__(a, b, validate_args=validate_args)
        except (ValueError, RuntimeError) as error:
            raise ArgumentError(f"Got concentrations that make no Beta ({error}), expected numbers above 0.") from None

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same with a larger batch shape."""
        return type(self)(
            self.concentration1.expand(batch_shape), self.concentration0.expand(batch_shape), validate_args=False
        )
