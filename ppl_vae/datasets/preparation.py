"""The way of data from a source to a model: the keywords that all sources share, their defaults, their effect.

A source takes ``**how: Unpack[T]``, where T is one of the kinds of keywords below; their defaults are the constant of
T's name in capitals. A source that has another default for one of them names it in its own signature.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import prod
from typing import Any, Literal, TypedDict, get_args

import torch
from torch import Tensor

from ppl_vae.datasets.blocks import Column
from ppl_vae.datasets.spec import Support
from ppl_vae.datasets.split import Split
from ppl_vae.datasets.support import has_nan
from ppl_vae.datasets.transform import (
    DynamicBinarization,
    Scaling,
    Standardization,
    Step,
    Transform,
    UniformDequantization,
    keyed_uniform,
)
from ppl_vae.errors import DataError

Binarization = Literal["none", "static", "dynamic", "threshold"]
Dequantization = Literal["none", "uniform"]
Scale = Literal["none", "unit"]
Standardize = Literal["none", "zscore"]

POLICIES = {
    "binarization": get_args(Binarization),
    "dequantization": get_args(Dequantization),
    "scaling": get_args(Scale),
    "standardization": get_args(Standardize),
}
"""The policies and the names that each takes; ``none`` leaves x alone."""


class Basics(TypedDict, total=False):
    """Keywords of every source that has labels.

    Args:
        with_labels: true hands the labels to the model too, as the last tensor of a batch: model(x, y).
        labelled: hand the labels of so many training data to the model (a fraction or a number, evenly from all
            classes), and none of the others: batches with labels, model(x, y), and without, model(x), take turns.
            Validation and test data come without. `known` where some have a label and others none (None, NaN, empty
            text; −1 among whole numbers): the labels that are there.
        dtype: of floating-point values in batches; float32 by default, see `as_tensor`. Other integers than 8-bit
            ones, and booleans, stay what they are where no policy makes them floats.
        seed: of the splits and of static binarization; apart from a run's seed, so that a sweep over seeds keeps them.
        missing: whether values of x may be missing (NaN), which ready-made pairs then mask: true for a pair that is
            trained on whole data and meets others later. By default, whether some are.
    """

    with_labels: bool
    labelled: float | Literal["known"] | None
    dtype: torch.dtype | str | None
    seed: int
    missing: bool | None


BASICS: Basics = {"with_labels": False, "labelled": None, "dtype": None, "seed": 0, "missing": None}


class Pixels(Basics, total=False):
    """Keywords of every source of grey levels.

    Args:
        binarization: ``none``, ``static`` (one draw for ever), ``dynamic`` (a draw per visit) or ``threshold``.
        dequantization: ``none``, or ``uniform`` noise between integers; only without binarization.
        scaling: ``unit`` divides grey levels by levels − 1, and gives 8-bit data as floats; ``none`` leaves them
            integers.
        standardization: ``none``, or ``zscore`` per column or channel, with training statistics; only without
            binarization.
    """

    binarization: Binarization
    dequantization: Dequantization
    scaling: Scale
    standardization: Standardize


PIXELS: Pixels = {
    **BASICS,
    "binarization": "dynamic",
    "dequantization": "none",
    "scaling": "unit",
    "standardization": "none",
}


class Preparation(Pixels, total=False):
    """Keywords of every source of any numbers.

    Args:
        support: where x lives: binary, integers, counts, unit, positive or real; by default its dtype and values tell,
            see `find_support`.
        levels: x are grey levels 0, …, levels − 1; 256 for uint8.
    """

    support: Support | None
    levels: int | None


PREPARATION: Preparation = {**PIXELS, "binarization": "none", "support": None, "levels": None}


def check_policies(how: Preparation) -> dict[str, str]:
    """Give the four policies by name.

    Raises:
        DataError: for an unknown name, or two that exclude one another.
    """
    policies: dict[str, str] = {key: how[key] for key in POLICIES}  # type: ignore[literal-required]
    for key, value in policies.items():
        if value not in POLICIES[key]:
            raise DataError(f"Got {key}={value!r}, expected one of {', '.join(POLICIES[key])}.")
    binarization, dequantization, _, standardization = policies.values()
    if binarization != "none" and (dequantization, standardization) != ("none", "none"):
        raise DataError(
            f"Got {binarization=} together with {dequantization=} and {standardization=}, expected one of them: "
            "binary data are neither dequantized nor standardized; use binarization='none'."
        )
    return policies


def prepare(
    splits: dict[str, Split],
    how: Preparation,
    support: Support,
    levels: int | None,
    dtype: torch.dtype,
    real: Tensor | None = None,
    *,
    is_sequence: bool = False,
) -> tuple[dict[str, Split], Support, int | None]:
    """Give the splits with their transform, and the support and levels of what a model sees.

    Args:
        splits: as stored.
        how: what to do, in the one order that makes sense.
        support: of x as stored …
        levels: … and how many levels it has.
        dtype: of x in batches.
        real: of mixed columns those that are standardized, ``(columns,)``; the others are left alone.
        is_sequence: whether x is ``(data, time, features)``: standardized by feature, over data and time.

    Raises:
        DataError: where a policy does not fit the support.
    """
    steps: tuple[Step, ...] = ()
    binarization, dequantization, seed = how["binarization"], how["dequantization"], how["seed"]
    pixels = support == "integers" and levels is not None
    if binarization != "none" and support != "binary":
        if not pixels and support != "unit":
            raise DataError(
                f"Got {binarization=} for data whose support is {support!r}, expected grey levels: integers "
                "with known levels (give levels=256 for values from 0 to 255) or numbers in [0, 1] (divide by the "
                "largest there can be)."
            )
        peak = (levels or 0) - 1 if pixels else 1
        if binarization == "dynamic":
            steps = (DynamicBinarization(peak),)
        else:
            splits = {name: _binarized(split, binarization, peak, seed) for name, split in splits.items()}
        support, levels = "binary", None
    elif dequantization != "none":
        if not pixels:
            raise DataError(
                f"Got {dequantization=} for data whose support is {support!r}, expected integers with known levels: "
                "give levels=256 for 8-bit pixels, or dequantization='none'."
            )
        steps, support, levels = (UniformDequantization(levels or 0),), "unit", None
    elif how["scaling"] == "unit" and pixels:
        steps, support, levels = (Scaling((levels or 0) - 1),), "unit", None
    if how["standardization"] != "none":
        fit = _fit(splits["train"], Transform(steps, dtype, seed), real, is_sequence)
        steps, support, levels = (*steps, fit), "real" if real is None else "mixed", None
    transform = Transform(steps, dtype, seed)
    return {name: replace(split, transform=transform) for name, split in splits.items()}, support, levels


def kept_dtype(stored: torch.dtype, how: Preparation, support: Support) -> torch.dtype | None:
    """Give what x stays in batches if it is no float and no policy makes it one; grey levels of 8 bits are pixels."""
    makes_floats = (
        stored.is_floating_point
        or how["dequantization"] != "none"
        or how["standardization"] != "none"
        or (how["binarization"] != "none" and support != "binary")
        or (how["scaling"] == "unit" and (support == "integers" or stored == torch.uint8))
    )
    return None if makes_floats else stored if stored == torch.bool else torch.int64


def static_binarization(x: Tensor, indices: Tensor, peak: float, seed: int) -> Tensor:
    """Give one draw b ~ Bernoulli(x / peak) per datum, the same for ever: uint8 of x's shape.

    References:
        Salakhutdinov and Murray (2008), On the Quantitative Analysis of Deep Belief Networks,
            https://doi.org/10.1145/1390156.1390266
    """
    out = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    for part in torch.arange(len(x), device=x.device).split(4096):  # the noise takes 8 bytes a pixel
        out[part] = (keyed_uniform(indices[part], x.shape[1:], seed) * peak < x[part]).to(torch.uint8)
    return out


def threshold_binarization(x: Tensor, peak: float) -> Tensor:
    """Give 1 where x is at least half of white, else 0: uint8 of x's shape."""
    return (x >= peak / 2).to(torch.uint8)


def _binarized(split: Split, policy: Binarization, peak: float, seed: int) -> Split:
    x, *others = split.tensors
    indices: Any = split.indices
    static = policy == "static"
    if isinstance(x, Column):
        change = functools.partial(_binary, numbers=indices if static else None, peak=peak, seed=seed)
        return replace(split, tensors=(x.each(change), *others))
    x = static_binarization(x, indices, peak, seed) if static else threshold_binarization(x, peak)
    return replace(split, tensors=(x, *others))


def _binary(x: Tensor, rows: Tensor, numbers: Column | None, peak: float, seed: int) -> Tensor:
    """Some rows of a column, of which static binarization has to know the numbers."""
    if numbers is None:
        return threshold_binarization(x, peak)
    return static_binarization(x, numbers.values(rows), peak, seed)


def _fit(train: Split, transform: Transform, real: Tensor | None = None, is_sequence: bool = False) -> Standardization:
    """Take mean and standard deviation over the training data and all event axes but the first, NaN left out.

    Of sequences it is the axis of time, the first, that is left out, and the second that stays.

    Raises:
        DataError: for a column or channel that never varies, whose density is infinite.
    """
    # numbers such as dates in seconds lose their digits in float32 before the mean is taken away, not after
    stored = train.tensors[0].dtype
    dtype = torch.float64 if stored in (torch.float64, torch.int64, torch.int32) else transform.dtype
    view = replace(train, transform=replace(transform, dtype=dtype))

    def averaged(part: Callable[[Tensor], Tensor]) -> Tensor:
        event = [1] if is_sequence else range(2, train.tensors[0].ndim)
        return average((part(x.double()) for x, *_ in view.batches(4096)), [0, *event])

    location = averaged(lambda x: x)
    scale = averaged(lambda x: (x - location).square()).sqrt()  # two passes: exact where location >> scale
    if real is not None:
        location, scale = torch.where(real, location, 0.0), torch.where(real, scale, 1.0)
    constant = (~(scale > 1e-12 * location.abs())).flatten().nonzero().flatten().tolist()
    if constant:
        shown = ", ".join(repr(train.columns[i]) if train.columns else str(i) for i in constant[:5])
        value = location.flatten()[constant[0]].item()
        raise DataError(
            f"Got {len(constant)} columns or channels without variance in the training data ({shown}; the "
            f"first is {value:g} throughout), expected each to vary: leave them out, or use "
            "standardization='none'."
        )
    return Standardization(location.to(dtype), scale.to(dtype))


def mean(split: Split) -> Tensor:
    """Give the mean of x over a split as a model sees it, ``(*shape)``: policies' noise averaged out, NaN left out."""
    values = average((part.double() for part in split.tensors[0].split(4096)), [0])
    return split.transform.mean(values.nan_to_num())


def average(parts: Iterable[Tensor], axes: list[int]) -> Tensor:
    """Give the mean of what is not NaN over the axes, the first of which is left away."""
    total, count = torch.tensor(0.0), torch.tensor(0.0)
    for x in parts:
        total = total.to(x.device) + x.nansum(axes, keepdim=True)[0]
        known = (~x.isnan()).sum(axes, keepdim=True)[0] if has_nan(x) else prod(x.shape[axis] for axis in axes)
        count = count.to(x.device) + known
    return total / count


def statistics(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
    """Give location and scale of the standardization, one number per column or channel, or None twice."""
    for step in split.transform.steps:
        if isinstance(step, Standardization):
            return tuple(step.location.flatten().tolist()), tuple(step.scale.flatten().tolist())
    return None, None
