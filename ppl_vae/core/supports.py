"""Supports in words, and data outside of them."""

import re
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.core.observed import Message, outside
from ppl_vae.distributions.open_beta import OpenBeta
from ppl_vae.distributions.unwrap import family, innermost, layers, support_of
from ppl_vae.errors import DataError


def refusal(msg: Message) -> DataError | None:
    """The fault of the data at a site whose density was refused, if it is theirs."""
    bad = outside(msg) if msg["is_observed"] else None
    if bad is None or not bool(bad.any()):
        return None
    fn, value = msg["fn"], msg["value"]
    index = [int(i) for i in np.unravel_index(int(bad.flatten().to(torch.uint8).argmax()), bad.shape)]
    return DataError(f"{describe(msg['name'], fn, value, bad, f'at {index}')} {advice(fn, value)}")


def describe(name: str, fn: Any, value: Tensor, bad: Tensor, place: str) -> str:
    """Values outside a support, in a sentence.

    Args:
        name: of the site.
        fn: its distribution.
        value: what is observed.
        bad: which of them lie outside.
        place: of the first.
    """
    number = int(bad.sum())
    index = np.unravel_index(int(bad.flatten().to(torch.uint8).argmax()), bad.shape)
    event = value.shape[value.dim() - support_of(fn).event_dim :]
    first = value.expand(*bad.shape, *event)[tuple(int(i) for i in index)]
    shown = f"{first.item():g}" if first.numel() == 1 else str([round(float(v), 4) for v in first.flatten()[:4]])
    support = told(support_of(fn))
    return (
        f"Got {number} {'value' if number == 1 else 'values'} outside the support of {family(fn)} at site {name!r}, "
        f"the first {shown} {place} (values go from {value.min():.4g} to {value.max():.4g}), expected {support}."
    )


def advice(fn: Any, value: Tensor) -> str:
    """Advice for data outside a support."""
    base = innermost(fn)
    if value.is_floating_point() and bool(value.isnan().any()):
        return "Mask missing values (poutine.mask, or .mask on the distribution), leave them out or fill them in."
    unit = bool(((value >= 0) & (value <= 1)).all())
    if isinstance(base, (dist.Bernoulli, torch.distributions.Bernoulli)) and unit:
        return (
            "Binarize the data (dataset.binarization=dynamic), or take a likelihood for values in [0, 1]: "
            "ContinuousBernoulli or Beta."
        )
    if isinstance(base, OpenBeta) and unit:
        return (
            "Take likelihood=continuous_bernoulli, whose density is finite at the ends, or draw grey levels apart by "
            "dataset.dequantization=uniform."
        )
    if isinstance(base, (dist.Bernoulli, dist.ContinuousBernoulli, dist.Beta)):
        return "Rescale the data (x / 255 for bytes), or take a likelihood that fits their range."
    return "Rescale the data, or take a likelihood that fits their range."


def told(support: Any) -> str:
    """A support in words: `greater than 0`."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    name = type(support).__name__.strip("_")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().replace("_", " ").removesuffix(" eq")
    bounds = [f"{float(b):g}" for key in ("lower_bound", "upper_bound") if (b := _number(support, key)) is not None]
    words = {"real": "the real line", "boolean": "0 or 1", "simplex": "the simplex"}.get(words, words)
    return f"{words} {' to '.join(bounds)}".strip()


def is_silenced(fn: Any) -> bool:
    """True if the user switched validation off for a distribution, given that it is on by default."""
    return any(vars(layer).get("_validate_args") is False for layer in layers(fn))


def bounds(fn: Any) -> list[Any]:
    """The bounds of a support, as far as it has any."""
    support = support_of(fn)
    found = [getattr(support, key, None) for key in ("lower_bound", "upper_bound")]
    return [b.tolist() if isinstance(b, Tensor) else b for b in found if b is not None]


def is_fixed(support: Any) -> bool:
    """True if a support is the same for all data and draws."""
    held = [v for v in vars(support).values() if not isinstance(v, (int, float, str, bool))] if support else []
    return all(isinstance(v, Tensor) and v.dim() == 0 and not v.requires_grad for v in held)


def _number(support: Any, key: str) -> float | None:
    bound = getattr(support, key, None)
    return None if bound is None or torch.as_tensor(bound).numel() != 1 else float(bound)
