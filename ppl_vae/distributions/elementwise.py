"""Base of the project's own scalar distributions."""

from typing import Any, Self

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from ppl_vae.errors import ArgumentError
from ppl_vae.kinds import shown


def together(validate_args: Any, **parameters: Any) -> tuple[Tensor, ...]:
    """Tensors, broadcast against each other. Looked at here, as distributions are made at each step of training.

    Raises:
        ArgumentError: one is no tensor, they do not go together, or `validate_args` is no switch.
    """
    for name, value in parameters.items():
        if not isinstance(value, Tensor):
            raise ArgumentError(f"Got {name}={shown(value)}, expected a Tensor.")
    if not (validate_args is None or isinstance(validate_args, bool)):
        raise ArgumentError(f"Got validate_args={shown(validate_args)}, expected true or false or None.")
    try:
        return tuple(torch.broadcast_tensors(*parameters.values()))
    except RuntimeError:
        shapes, names = ", ".join(str(tuple(p.shape)) for p in parameters.values()), ", ".join(parameters)
        raise ArgumentError(f"Got {names} of shapes {shapes}, expected ones that go together.") from None


class Elementwise(TorchDistribution):
    """A scalar distribution with a batch of parameters; subclasses give `names`, `log_density` and `draw`.

    Args:
        parameters: tensors that broadcast against each other.
        constants: what all elements share, passed on by keyword when the distribution is expanded.
    """

    def __init__(self, *parameters: Tensor, validate_args: bool | None = None, **constants: Any) -> None:
        names = getattr(self, "names", ())
        if not names or len(parameters) != len(names):
            raise ArgumentError(f"Got {len(parameters)} parameters, expected {', '.join(names) or 'a subclass'}.")
        self.parameters = together(validate_args, **dict(zip(names, parameters, strict=True)))
        self.constants = constants
        for name, value in constants.items():
            setattr(self, name, value)
        # Any real number is a legal parameter here: there is nothing to check but the value.
        super().__init__(self.parameters[0].shape, validate_args=validate_args)

    arg_constraints: Any = {}  # noqa: RUF012 - torch's own form
    names: tuple[str, ...]
    """Of the parameters, in order."""

    def log_density(self, value: Tensor) -> Tensor:
        """Log density in nats, of the broadcast shape of value and parameters."""
        raise NotImplementedError

    def draw(self, shape: torch.Size) -> Tensor:
        """A draw of this shape; it carries gradients if `has_rsample`."""
        raise NotImplementedError

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of `value` in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return self.log_density(value)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - torch's own signature
        """A draw that carries gradients."""
        if not self.has_rsample:
            raise NotImplementedError(f"{type(self).__name__} is discrete and has no reparameterized sample.")
        return self.draw(self._extended_shape(sample_shape))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - torch's own signature
        """A draw without gradient."""
        with torch.no_grad():
            return self.draw(self._extended_shape(sample_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same distribution with a larger batch shape."""
        parameters = (p.expand(batch_shape) for p in self.parameters)
        return type(self)(*parameters, validate_args=self._validate_args, **self.constants)
