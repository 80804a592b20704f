"""What a network needs to know of a dataset."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


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
