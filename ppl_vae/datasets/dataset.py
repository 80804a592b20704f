"""A data set: three splits, what they are data of, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ppl_vae.datasets.several import Several, structures
from ppl_vae.datasets.spec import Spec
from ppl_vae.datasets.split import Split
from ppl_vae.display import Displayed, View, few, shape_of


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Displayed):
    """Training, validation and test data with their `Spec`.

    Args:
        name: of the source, such as ``digits``.
        spec: what networks need to know.
        train: what is learnt from; of several structures where only some data have labels.
        validation: what chooses between epochs and settings; may be empty.
        test: what is reported; may be empty.
        provenance: plain values that say how to get the same data again: seed, sizes, policies, files and
            their checksums.
        truth: the process that generated synthetic data, with what is known of it exactly.
    """

    name: str
    spec: Spec
    train: Split | Several
    validation: Split
    test: Split
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)
    truth: Any = field(default=None, repr=False)

    @property
    def splits(self) -> dict[str, Split | Several]:
        """The splits by name, in the order train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def to(self, device: torch.device | str) -> Dataset:
        """Give the same data set with its tensors on `device`."""
        moved: dict[str, Any] = {name: split.to(device) for name, split in self.splits.items()}
        return replace(self, **moved)

    def __repr__(self) -> str:
        return self._view().line

    def _view(self) -> View:
        spec = self.spec
        sizes = ", ".join(f"{name} {len(split)}" for name, split in self.splits.items())
        fields = [f.name for f in spec.fields]
        notes = [f"columns: {few(spec.feature_names)}"] if spec.feature_names else []
        notes += [f"classes: {few(spec.class_names)}"] if spec.class_names else []
        return View(
            f"Dataset({self.name}: {sizes}; x {spec.shape} {spec.support})",
            ("split", "data", *fields, *(["labels"] if spec.num_classes else [])),
            [
                (
                    name,
                    len(part),
                    *_cells(part, len(fields)),
                    *([_labelled(part, len(fields))] if spec.num_classes else []),
                )
                for name, split in self.splits.items()
                for part in structures(split)
            ],
            notes,
        )


def _cells(part: Split, fields: int) -> list[str]:
    """The tensors of a part as they are stored; one that has fewer than the others has a dash."""
    told = [shape_of(tensor) for tensor in part.tensors[:fields]]
    return told + ["-"] * (fields - len(told))


def _labelled(part: Split, fields: int) -> str:
    """A word on the labels of a part, and on whether the programs are given them."""
    return "no" if part.labels is None else "given" if len(part.tensors) > fields else "yes"
