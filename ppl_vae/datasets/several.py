"""Data of several structures as one split: labels for some, none for the others; each batch is of one of the two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ppl_vae.datasets.known_labels import KNOWN, NONE
from ppl_vae.datasets.split import Split, count
from ppl_vae.display import Displayed, View
from ppl_vae.errors import DataError


@dataclass(frozen=True, eq=False, repr=False)
class Several(Displayed):
    """Splits whose batches have tensors of another number or shape; each batch is of one of them.

    An epoch goes once through the data of all. Batches of a part are spread evenly over it, and its data are shuffled
    among themselves.

    Args:
        parts: at least two; the first is what the data set's spec tells of.

    Example:
        >>> x, y = torch.arange(12.0).reshape(6, 2), torch.tensor([0, 1])
        >>> some = Several((Split((x[2:],)), Split((x[:2], y))))
        >>> [len(batch) for batch in some.batches(2)]
        [1, 2, 1]
    """

    parts: tuple[Split, ...]

    def __post_init__(self) -> None:
        if len(self.parts) < 2 or not all(len(part) for part in self.parts):
            raise DataError(f"Got {[len(part) for part in self.parts]} data of each structure, expected at least two.")

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def _view(self) -> View:
        return View(f"Several({' + '.join(map(repr, self.parts))})")

    def __iter__(self) -> Iterator[Split]:
        raise TypeError("Data of several structures are not iterated datum by datum: use .batches(size) or .parts.")

    def __getitem__(self, index: slice) -> Split | Several:
        """Some data in a row, the parts one after the other."""
        start, stop, step = index.indices(len(self))
        found, before = [], 0
        for part in self.parts:
            some = part[slice(max(start - before, 0), max(stop - before, 0), step)]
            found += [some] if len(some) else []
            before += len(part)
        return found[0] if len(found) == 1 else Several(tuple(found))

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.parts[0].device

    @property
    def in_memory(self) -> bool:
        """True if no tensor is read when a batch is taken."""
        return all(part.in_memory for part in self.parts)

    def to(self, device: torch.device | str) -> Several:
        """Give the same data with all tensors on `device`."""
        return Several(tuple(part.to(device) for part in self.parts))

    def batch(self, *_: Any) -> tuple[Tensor, ...]:
        """Refused: there is no one batch of all.

        Raises:
            DataError: always.
        """
        held = " and ".join(f"{len(part)} of {len(part.tensors)} tensors" for part in self.parts)
        raise DataError(
            f"Got data of several structures ({held}) where one batch is made of them, expected one structure: take "
            "one of data.train.parts."
        )

    def num_batches(self, batch_size: int) -> int:
        """Batches of an epoch."""
        return sum(part.num_batches(batch_size) for part in self.parts)

    def batches(
        self, batch_size: int, *, shuffle: bool = False, generator: torch.Generator | None = None, done: int = 0
    ) -> Iterator[tuple[Tensor, ...]]:
        """Go once through all data, see `Split.batches`; the last batch of each part may be smaller.

        Args:
            batch_size: data per batch.
            shuffle: draw a fresh permutation of the data of each part.
            generator: source of it, and of the noise of random policies.
            done: batches to leave out at the beginning; the others are the same as without.
        """
        own: list[torch.Generator | None] = [None] * len(self.parts)
        if shuffle or generator is not None:
            source = torch.default_generator if generator is None else generator
            seeds = [int(torch.randint(2**62, (), generator=source, device=source.device)) for _ in self.parts]
            own = [torch.Generator().manual_seed(seed) for seed in seeds]
        order = self._order(batch_size)
        feeds = [
            part.batches(batch_size, shuffle=shuffle, generator=g, done=order[:done].count(place))
            for place, (part, g) in enumerate(zip(self.parts, own, strict=True))
        ]
        return (next(feeds[place]) for place in order[done:])

    def _order(self, batch_size: int) -> list[int]:
        """The part that each batch of an epoch is of, by its place."""
        numbers = [part.num_batches(batch_size) for part in self.parts]
        places = [((i + 0.5) / n, place) for place, n in enumerate(numbers) for i in range(n)]
        return [place for _, place in sorted(places)]


def structures(split: Any) -> tuple[Any, ...]:
    """The parts of a split, each of data of one structure."""
    return split.parts if isinstance(split, Several) else (split,)


def some_labelled(split: Split, labelled: float | str, seed: int) -> Several:
    """Give the labels of some data to the programs, `model(x, y)`, and of the others none, `model(x)`.

    Args:
        split: with labels.
        labelled: how many, a fraction or a number, evenly from all classes as far as these go; `known` for those that
            there are, where others are missing.
        seed: of the choice.

    Raises:
        DataError: there are no labels; or a share that leaves none, or all.
    """
    if labelled == KNOWN and split.labels is not None:
        chosen = (split.labels.cpu() != NONE).nonzero().flatten()
        if len(chosen) in (0, len(split)):
            have = "none" if not len(chosen) else "all"
            raise DataError(
                f"Got labelled=known where {have} of the {len(split)} training data have a label, expected some with "
                "and some without: with_labels=true hands labels of all to the model, leaving out both hands none."
            )
        return _parted(split, chosen, rest_labels=False)
    if isinstance(labelled, bool) or not isinstance(labelled, Real):
        raise DataError(f"Got labelled={labelled!r}, expected a fraction or a number of data, or 'known'.")
    if split.labels is None:
        raise DataError(f"Got labelled={labelled:g} without labels, expected labels: say which they are.")
    number = count(float(labelled) if isinstance(labelled, float) else labelled, len(split), "labelled")
    if not number:
        raise DataError("Got labelled=0, expected at least one datum with a label: leave it out for none.")
    return _parted(split, _evenly(split.labels.cpu(), number, seed), rest_labels=True)


def _parted(split: Split, chosen: Tensor, *, rest_labels: bool) -> Several:
    rest = torch.ones(len(split), dtype=torch.bool)
    rest[chosen] = False
    some, others = split[chosen], split[rest]
    labels = some.labels
    assert labels is not None
    with_labels = Split((*some.tensors, labels), labels, some.factors, some.transform, some.indices, some.columns)
    return Several((others if rest_labels else replace(others, labels=None), with_labels))


def _evenly(labels: Tensor, number: int, seed: int) -> Tensor:
    """Some data, as many of each class as of the others as far as there are."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    seen: dict[int, int] = {}
    turns = []
    for label in labels[order].tolist():
        turns.append(seen.setdefault(label, 0))
        seen[label] += 1
    return order[torch.tensor(turns).argsort(stable=True)[:number]].sort().values


def parts_of(data: Any) -> tuple[Any, ...]:
    """The data of each structure, which are all of them where there is one."""
    return data.parts if isinstance(data, Several) else (data,)
