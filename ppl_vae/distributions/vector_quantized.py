"""Vector quantization: the nearest of K vectors, and a gradient that passes by it."""

from typing import Any, Self

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.distributions.codes import OneCode
from ppl_vae.errors import ArgumentError
from ppl_vae.kinds import misfit, shown


class Nearest(OneCode):
    r"""All mass on the numbers of the nearest vectors, $z_p = \arg\min_k \lVert h_p - e_k \rVert^2$; no gradient.

    Args:
        h: `(..., positions, dim)`.
        table: e, `(codes, dim)`.

    Raises:
        ArgumentError: h and e are of another size, or there are fewer than two vectors.

    Example:
        >>> Nearest(torch.tensor([[0.1, 0.0], [0.9, 2.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])).sample()
        tensor([0., 1.])
    """

    def __init__(self, h: Tensor, table: Tensor) -> None:
        for name, value in {"h": h, "table": table}.items():
            if not isinstance(value, Tensor) or not value.is_floating_point():
                raise ArgumentError(f"Got {name}={shown(value)}, expected a tensor of floats.")
        if h.dim() < 2 or table.dim() != 2 or h.shape[-1] != table.shape[-1] or len(table) < 2:
            raise ArgumentError(
                f"Got h of shape {tuple(h.shape)} and a table of shape {tuple(table.shape)}, expected "
                "(…, positions, dim) and (codes, dim), with two codes or more."
            )
        with torch.no_grad():
            nearness = h @ table.mT.to(h.dtype) - table.square().sum(-1).to(h.dtype) / 2
            self.code = nearness.argmax(-1).to(table.dtype)
        self.levels = (len(table),) * h.shape[-2]
        super().__init__(self.code.shape[:-1], self.code.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The numbers, `(..., positions)`."""
        return self.code

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same with a larger batch shape."""
        new = type(self).__new__(type(self))
        new.levels, new.code = self.levels, self.code.expand(*batch_shape, self.code.shape[-1])
        super(OneCode, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        return new


class StraightThrough(TorchDistribution):
    r"""All mass on e; a draw carries the gradient of h, $e + h - \mathrm{stop}(h)$.

    It says how the code is learned, too: by the term −β‖stop(e) − h‖² of the training objective, in nats per datum, and
    by what `codebook` makes of h and z (see `ppl_vae.nn.Codebook`), once a step.

    Args:
        h: what is quantized, `(..., positions, dim)`.
        z: the numbers of its vectors, `(..., positions)`.
        codebook: gives e `(..., positions, dim)` of z; has `update(h, z)`.
        commitment: β.

    Raises:
        ArgumentError: these are no tensors, no codebook or no β.

    References:
        van den Oord, Vinyals and Kavukcuoglu (2017), Neural Discrete Representation Learning,
            https://arxiv.org/abs/1711.00937
    """

    arg_constraints: Any = {}  # noqa: RUF012 - torch's own form
    has_rsample = True
    support = constraints.independent(constraints.real, 2)

    def __init__(self, h: Tensor, z: Tensor, codebook: Any, commitment: float = 0.25) -> None:
        for name, value in {"h": h, "z": z}.items():
            if not isinstance(value, Tensor):
                raise ArgumentError(f"Got {name}={shown(value)}, expected a tensor.")
        if not callable(codebook) or not callable(getattr(codebook, "update", None)):
            raise ArgumentError(f"Got codebook={shown(codebook)}, expected one as ppl_vae.nn.Codebook.")
        if misfit(commitment, float) or not 0 <= commitment < float("inf"):
            raise ArgumentError(f"Got commitment={shown(commitment)}, expected a number of at least 0.")
        self.h, self.z, self.codebook, self.commitment = h, z, codebook, commitment
        self.e = codebook(z).detach()
        shape = torch.broadcast_shapes(h.shape, self.e.shape)
        super().__init__(shape[:-2], shape[-2:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """E, `(..., positions, dim)`."""
        return (self.e + (self.h - self.h.detach())).expand(self.batch_shape + self.event_shape)  # exactly e

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.mean)

    @property
    def distance(self) -> Tensor:
        r"""$\lVert \mathrm{stop}(e) - h \rVert^2$ over all positions, `(...)`."""
        return (self.e - self.h).square().sum((-2, -1))

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - torch's own signature
        """E, with the gradient of h."""
        mean = self.mean
        return mean.expand(torch.Size(sample_shape) + mean.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """0 where value is e, else −∞."""
        same = (value == self.e).flatten(-2).all(-1)
        found = torch.zeros_like(same, dtype=self.e.dtype).masked_fill(~same, -torch.inf)
        return found.expand(torch.broadcast_shapes(found.shape, self.batch_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same with a larger batch shape."""
        h = self.h.expand(*batch_shape, *self.event_shape)
        return type(self)(h, self.z.expand(*batch_shape, self.event_shape[0]), self.codebook, self.commitment)
