"""Observed values: where a program looks, whether that lies in the support, and what stands where it does not look."""

from collections.abc import Iterator
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import transform_to

from ppl_vae.distributions.unwrap import layers, support_of

Message = dict[str, Any]


MISSING = "_missing"
"""What of an observed value is missing, in the `infer` of its site: what else a mask hides is no data at all."""


class Missing(Messenger):
    """Gives an observed value that is missing, where a mask hides it, a value inside the support.

    A masked log-density is 0 whatever the value, but the gradient of what is masked is still computed: of NaN it is
    NaN, and 0 · NaN is NaN too.
    """

    def _pyro_sample(self, msg: Any) -> None:
        value = msg["value"]
        if not msg["is_observed"] or not isinstance(value, Tensor) or not value.is_floating_point():
            return
        looked_at = visible(msg)
        if looked_at is not None and _broadcast(value, looked_at):  # else Pyro has words for it
            # A mask may have axes of particles or of enumeration; data have none, and a site's value keeps its shape.
            unseen = value.isnan() & ~_any_to(looked_at, value.shape)
            msg["value"] = torch.where(unseen, inside(msg["fn"], value), value)
            msg["infer"] = {**msg["infer"], MISSING: unseen}


def _broadcast(a: Tensor, b: Tensor) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(a.shape[::-1], b.shape[::-1], strict=False))


def _any_to(looked_at: Tensor, shape: torch.Size) -> Tensor:
    """Booleans with the axes that a shape lacks taken together: true where any of them is."""
    if looked_at.dim() > len(shape):
        looked_at = looked_at.flatten(0, looked_at.dim() - len(shape) - 1).any(0)
    for axis in range(-looked_at.dim(), 0):
        looked_at = looked_at.any(axis, keepdim=True) if shape[axis] == 1 else looked_at
    return looked_at


def visible(msg: Message) -> Tensor | None:
    """True where a program looks at a site's value, as a tensor that broadcasts with it; None: everywhere."""
    found: Tensor | None = None
    for mask, event_dim in masks(msg):
        mask = torch.as_tensor(mask).to(torch.bool)
        mask = mask.reshape(mask.shape + (1,) * event_dim) if mask.dim() else mask
        found = mask if found is None else found & mask
    return found


def hidden(msg: Message, axes: int) -> Tensor:
    """A site's value with NaN where the program does not look; whole numbers and booleans then become floats.

    Data that were drawn anew (`uncondition`) are seen where the given ones are missing: that is what they are drawn
    for. What else is masked is no data, such as the padding of a sequence.

    Args:
        msg: The site.
        axes: How many axes plates and an event may have; axes of a mask left of them are of particles or of
            enumeration, and a value is seen where any of those looks at it.
    """
    value: Tensor = msg["value"]
    looked_at = visible(msg)
    if looked_at is None:
        return value
    if not msg["is_observed"] and (missing := msg["infer"].get(MISSING)) is not None:
        looked_at = looked_at | missing
    value = value if value.is_floating_point() else value.to(torch.get_default_dtype())
    looked_at = _any_to(looked_at, looked_at.shape[max(looked_at.dim() - axes, 0) :])
    return torch.where(looked_at, value, torch.nan)


def masks(msg: Message) -> Iterator[tuple[Any, int]]:
    """The masks of a site, on its handlers and inside its distribution, with the axes of an event below each."""
    fn = msg["fn"]
    if msg["mask"] is not None:
        yield msg["mask"], getattr(fn, "event_dim", 0)
    for layer in layers(fn):
        if isinstance(layer, dist.MaskedDistribution):
            yield layer._mask, layer.event_dim


def inside(fn: Any, like: Tensor) -> Tensor:
    """A value inside a distribution's support, of the dtype of `like`, that broadcasts with it.

    Example:
        >>> inside(dist.LogNormal(0.0, 1.0), torch.zeros(3))
        tensor(1.)
    """
    support = support_of(fn)
    if isinstance(own := getattr(support, "inside", None), float):  # a support of our own says it itself
        return like.new_tensor(own)
    if getattr(support, "is_discrete", False):
        return torch.as_tensor(getattr(support, "lower_bound", 0)).to(like)
    try:
        event = like.shape[like.dim() - support.event_dim :] if support.event_dim else ()
        to_support = transform_to(support)
        return to_support(like.new_zeros(to_support.inverse_shape(torch.Size(event)) if event else ()))
    except (NotImplementedError, AttributeError, RuntimeError):
        return like.new_zeros(())


def outside(msg: Message, value: Tensor | None = None, support: Any = None) -> Tensor | None:
    """True for values of a site outside its support, where the program looks at them; None where that is not known.

    Infinite values are outside of every support; so are missing ones (NaN).

    Args:
        msg: the site.
        value: other values than its own.
        support: another support than its own, of single elements where they are independent.

    Returns:
        Booleans of the value's shape, without the axes of an event of the support.
    """
    support = support_of(msg["fn"]) if support is None else support
    value = msg["value"] if value is None else value
    if support is None:
        return None
    try:
        bad = ~support.check(value)
        if value.is_floating_point():
            bad = bad | _any(~torch.isfinite(value), support.event_dim)
        looked_at = visible(msg)
        if looked_at is not None:
            bad = bad & _any(_any_to(looked_at, value.shape).expand(value.shape), support.event_dim)
        return bad
    except (NotImplementedError, RuntimeError, ValueError, AttributeError):
        return None


def _any(x: Tensor, axes: int) -> Tensor:
    return x.flatten(-axes).any(-1) if axes else x
