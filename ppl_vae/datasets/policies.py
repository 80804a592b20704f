"""The policies of a data set, put together in the one order that makes sense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from ppl_vae.datasets.binarization import (
    Binarization,
    DynamicBinarization,
    static_binarization,
    threshold_binarization,
)
from ppl_vae.datasets.dequantization import Dequantization, UniformDequantization
from ppl_vae.datasets.spec import Support
from ppl_vae.datasets.split import Split
from ppl_vae.datasets.standardization import Standardization, Standardize, fit_standardization
from ppl_vae.datasets.transform import Scale, Scaling, Step, Transform
from ppl_vae.errors import DataError


@dataclass(frozen=True)
class Policies:
    """What is done to x between memory and model; each is a name, ``none`` leaves x alone.

    Raises:
        DataError: for an unknown name, or two that exclude one another.
    """

    binarization: Binarization = "none"
    dequantization: Dequantization = "none"
    scaling: Scale = "unit"
    standardization: Standardize = "none"

    def __post_init__(self) -> None:
        for key, kinds in {
            "binarization": get_args(Binarization),
            "dequantization": get_args(Dequantization),
            "scaling": get_args(Scale),
            "standardization": get_args(Standardize),
        }.items():
            if (value := getattr(self, key)) not in kinds:
                raise DataError(f"Got {key}={value!r}, expected one of {', '.join(kinds)}.")
        if self.binarization != "none" and (self.dequantization, self.standardization) != ("none", "none"):
            raise DataError(
                f"Got binarization={self.binarization!r} together with "
                f"dequantization={self.dequantization!r} and standardization={self.standardization!r}, "
                "expected one of them: binary data are neither dequantized nor standardized; use "
                "binarization='none'."
            )


def apply(
    policies: Policies,
    splits: dict[str, Split],
    support: Support,
    levels: int | None,
    dtype: torch.dtype,
    seed: int,
    names: Sequence[str] | None = None,
) -> tuple[dict[str, Split], Support, int | None]:
    """Give the splits with their transform, and the support and levels of what a model sees.

    Args:
        policies: what to do.
        splits: as stored.
        support: of x as stored …
        levels: … and how many levels it has.
        dtype: of x in batches.
        seed: of static draws, and of the noise where no generator is given.
        names: of the columns, for messages.

    Raises:
        DataError: where a policy does not fit the support.
    """
    steps: tuple[Step, ...] = ()
    if policies.binarization != "none" and support != "binary":
        peak = _peak(support, levels, policies.binarization)
        if policies.binarization == "dynamic":
            steps = (DynamicBinarization(peak),)
        else:
            splits = {name: _binarized(split, policies, peak, seed) for name, split in splits.items()}
        support, levels = "binary", None
    elif policies.dequantization != "none":
        if support != "integers" or levels is None:
            raise DataError(
                f"Got dequantization={policies.dequantization!r} for data whose support is {support!r}, "
                "expected integers with known levels: give levels=256 for 8-bit pixels, or "
                "dequantization='none'."
            )
        steps, support, levels = (UniformDequantization(levels),), "unit", None
    elif policies.scaling == "unit" and support == "integers" and levels is not None:
        steps, support, levels = (Scaling(levels - 1),), "unit", None
    transform = Transform(steps, dtype, seed)
    if policies.standardization != "none":
        standardization = _fit(splits["train"], transform, names)
        transform, support, levels = Transform((*steps, standardization), dtype, seed), "real", None
    return {name: _with(split, transform) for name, split in splits.items()}, support, levels


def _peak(support: Support, levels: int | None, policy: str) -> float:
    if support == "integers" and levels is not None:
        return levels - 1
    if support == "unit":
        return 1
    raise DataError(
        f"Got binarization={policy!r} for data whose support is {support!r}, expected grey levels: integers "
        "with known levels (give levels=256 for values from 0 to 255) or numbers in [0, 1] (divide by the "
        "largest there can be)."
    )


def _binarized(split: Split, policies: Policies, peak: float, seed: int) -> Split:
    x, *others = split.tensors
    if policies.binarization == "static":
        x = static_binarization(x, split.indices, peak, seed)
    else:
        x = threshold_binarization(x, peak)
    return Split((x, *others), split.labels, split.factors, split.transform, split.indices)


def _with(split: Split, transform: Transform) -> Split:
    return Split(split.tensors, split.labels, split.factors, transform, split.indices)


def _fit(train: Split, transform: Transform, names: Sequence[str] | None) -> Standardization:
    # numbers such as dates in seconds lose their digits in float32 before the mean is taken away, not after
    stored = train.tensors[0].dtype
    dtype = torch.float64 if stored in (torch.float64, torch.int64, torch.int32) else transform.dtype
    view = _with(train, Transform(transform.steps, dtype, transform.seed))
    fitted = fit_standardization(lambda: (batch[0] for batch in view.batches(4096)), names)
    return Standardization(fitted.location.to(dtype), fitted.scale.to(dtype))


def mean(split: Split, chunk: int = 4096) -> Tensor:
    """Give the mean of x over a split as a model sees it, ``(*shape)``, policies' noise averaged out."""
    x = split.tensors[0]
    total = sum((part.double().sum(0) for part in x.split(chunk)), torch.zeros(x.shape[1:], dtype=torch.float64))
    return split.transform.mean(total.to(x.device) / len(x))


def statistics(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
    """Give location and scale of the standardization, one number per column or channel, or None twice."""
    for step in split.transform.steps:
        if isinstance(step, Standardization):
            return tuple(step.location.flatten().tolist()), tuple(step.scale.flatten().tolist())
    return None, None
