"""Data and labels as numbers of order one, for the first layer of a network."""

from collections.abc import Sequence
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ppl_vae.errors import DataError


class DataSpec(Protocol):
    """The part of a dataset's spec that networks read; `ppl_vae.datasets.Spec` is one.

    Any object with these attributes will do, so that a network can be built without a dataset.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Event shape of x: (C, H, W) for images, (D,) for tables."""

    @property
    def support(self) -> str:
        """One of binary, integers, counts, unit, positive, real."""

    @property
    def levels(self) -> int | None:
        """Number of values of integer data (0 … levels-1)."""

    @property
    def fields(self) -> Sequence[Any]:
        """Name, shape and dtype of every tensor of a batch; the first is x."""

    @property
    def num_classes(self) -> int | None:
        """Number of classes of the labels, if there are any."""

    @property
    def mean(self) -> Tensor | None:
        """Mean of x over the training data, where known."""


def has_missing(spec: DataSpec) -> bool:
    """True if values of x may be missing; specs need not say so."""
    return bool(getattr(spec, "missing", False))


def require_whole(spec: DataSpec, what: str) -> None:
    """Refuse data with missing values.

    Raises:
        DataError: naming what cannot do with them.
    """
    if has_missing(spec):
        raise DataError(f"Got data with missing values for {what}; expected none. Use model=vae, or fill them in.")


class Rescale(nn.Module):
    """Data of any support as floats of order one: x/(levels-1), log(1+x) for counts, else x itself.

    A missing value is 0 then, which is the mean of standardized data (Mattei and Frellsen, 2019).

    Args:
        spec: the dataset's spec.
    """

    one: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.log = spec.support in ("counts", "positive")
        self.top = float(spec.levels - 1) if spec.support == "integers" and spec.levels else 1.0
        self.missing = has_missing(spec)
        self.register_buffer("one", torch.ones(()), persistent=False)  # carries dtype

    def forward(self, x: Tensor) -> Tensor:
        """Data `(..., *shape)` to floats of that shape."""
        x = x.to(self.one.dtype)
        if self.missing:
            x = torch.where(x.isnan(), 0.0, x)
        return x.log1p() if self.log else x / self.top


class Features(nn.Module):
    """Rescaled data with its event axes flattened into one.

    Args:
        spec: the dataset's spec.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.rescale = Rescale(spec)
        self.event_dim = len(spec.shape)
        self.out_features = prod(spec.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Data `(..., *shape)` to `(..., prod(shape))`."""
        x = self.rescale(x)
        return x.flatten(-self.event_dim) if self.event_dim else x.unsqueeze(-1)


class Labels(nn.Module):
    """The second tensor of a batch as features: class codes one-hot, anything else flattened.

    Args:
        spec: the dataset's spec, with a second field.

    Raises:
        DataError: batches hold x alone.
    """

    one: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        if len(spec.fields) < 2:
            raise DataError(
                "this model needs batches (x, y), this dataset's batches hold x alone. "
                "Load it with its labels: dataset.with_labels=true."
            )
        y = spec.fields[1]
        self.classes = 0 if "float" in y.dtype or tuple(y.shape) else int(spec.num_classes or 0)
        self.event_dim = len(y.shape)
        self.out_features = self.classes or prod(y.shape)
        self.register_buffer("one", torch.ones(()), persistent=False)

    def forward(self, y: Tensor) -> Tensor:
        """Labels `(..., *shape)` to features `(..., out_features)`."""
        if self.classes:
            return one_hot(y, self.classes).to(self.one.dtype)
        y = y.to(self.one.dtype)
        return y.flatten(-self.event_dim) if self.event_dim else y.unsqueeze(-1)


def one_hot(y: Tensor, classes: int) -> Tensor:
    """Codes `(...)` to `(..., classes)`, all false where a code is outside 0 … classes-1.

    Example:
        >>> import torch
        >>> one_hot(torch.tensor([2, -1]), 3)
        tensor([[False, False,  True],
                [False, False, False]])
    """
    return y.unsqueeze(-1) == torch.arange(classes, device=y.device)
