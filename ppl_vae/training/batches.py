"""Batches for training and validation, as the pair wants them."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ppl_vae.core.data import cast, pair_dtype, take_data
from ppl_vae.datasets.several import structures
from ppl_vae.datasets.split import Split
from ppl_vae.errors import DataError
from ppl_vae.frames import module_of


@dataclass(frozen=True)
class Batches:
    """A split on the device of a pair, in batches of its dtype.

    Args:
        split: a `ppl_vae.datasets.Split`.
        dtype: of floating-point tensors of a batch; None leaves them alone.
    """

    split: Any
    dtype: torch.dtype | None

    def __len__(self) -> int:
        return len(self.split)

    @property
    def may_be_ahead(self) -> bool:
        """True if batches hang on their generator alone, so that they may be drawn before the steps on those before.

        Code of the user's own may draw from the generator that programs draw from, or look at what they do.
        """
        split = self.split
        return (
            type(split) is Split
            and split.in_memory
            and all(module_of(type(step)).startswith("ppl_vae.") for step in split.transform.steps)
        )

    def num_batches(self, size: int) -> int:
        """Batches of an epoch."""
        own = getattr(self.split, "num_batches", None)
        return math.ceil(len(self) / size) if own is None else own(size)

    def firsts(self, size: int) -> list[tuple[Any, ...]]:
        """The first batch of each structure that the data have."""
        return [next(Batches(part, self.dtype).batches(size)) for part in structures(self.split)]

    def batches(self, size: int, generator: torch.Generator | None = None, done: int = 0) -> Iterator[tuple[Any, ...]]:
        """Go once through the data, shuffled where there is a generator; the last batch may be smaller.

        Args:
            size: data per batch.
            generator: of the order and of the noise of random policies.
            done: batches to leave out at the beginning.
        """
        feed = self.split.batches
        if "done" in inspect.signature(feed).parameters:
            found = feed(size, shuffle=generator is not None, generator=generator, done=done)
        else:  # of a split of the user's own, whose batches are gone through
            found = itertools.islice(feed(size, shuffle=generator is not None, generator=generator), done, None)
        for batch in found:
            yield tuple(
                cast(part, self.dtype, part.device) if isinstance(part, torch.Tensor) else part for part in batch
            )


def batches_of(data: Any, vae: Any, device: torch.device, rows: int) -> tuple[Batches, Batches | None]:
    """Give the training and the validation feed of a Dataset, a Split, or an array or tuple of arrays.

    Raises:
        DataError: no data to train on.
    """
    train, validation = data, None
    if hasattr(type(data), "splits"):
        train, validation = data.train, data.validation
        if train is None or len(train) == 0:
            raise DataError("Got no data to train on, expected at least one datum in the training split.")
    train = take_data(vae, train, every_datum=False, rows=rows)
    held_out = None
    if validation is not None and len(validation):
        held_out = take_data(vae, validation, every_datum=False, rows=rows)
    dtype = pair_dtype(vae)
    return (
        Batches(train.to(device), dtype),
        None if held_out is None else Batches(held_out.to(device), dtype),
    )
