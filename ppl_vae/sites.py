"""One site of one program as an array over particles and data, wherever its plates put these axes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from ppl_vae.layout import Layout


@dataclass(frozen=True)
class Site:
    """One sample site of one program, in every particle.

    Attributes:
        name: The site's name.
        fn: Its distribution, as the program gave it.
        value: `(particles, data, other plates…, event…)` for a local site, `(particles, other plates…, event…)` for a
            global one; enumerated axes, if any, lie further left.
        log_prob: `(enumerated…, particles, data)` for a local site, `(enumerated…, particles)` for a global one: masks
            applied, other plates summed, no scale.
        is_observed: Whether the value is data, or a function of other sites.
        is_auxiliary: Whether the site only serves another one (as in autoguides) and is no site of the model.
        is_deterministic: Whether it comes from `pyro.deterministic`.
        is_local: Whether it stands in the data plate.
        plate_scale: By how much its subsampled plates, the data plate included, scale it: N/B, and more.
        inner_scale: The part of `plate_scale` that is not the data plate's.
        weight: The user's `poutine.scale`: a number, or a tensor that broadcasts with `log_prob`.
        raw: The value as the program saw it, a node of its autograd graph.
        data_dim: The batch dimension of the data plate in `fn` and `raw`, counted from the right.
        mask: The site's mask, as the program gave it.
        reduce: Brings a tensor of the site's batch shape (a KL, say) to the shape of `log_prob`.
        plates: The names of its plates beside those of particles and data, in the order of the axes of `value`.
    """

    name: str
    fn: Any
    value: Tensor
    log_prob: Tensor
    is_observed: bool
    is_auxiliary: bool
    is_deterministic: bool
    is_local: bool
    plate_scale: float | Tensor
    inner_scale: float | Tensor
    weight: float | Tensor
    raw: Tensor
    plates: tuple[str, ...] = ()
    data_dim: int | None = None
    mask: bool | Tensor | None = None
    reduce: Callable[[Tensor], Tensor] = field(repr=False, default=lambda x: x)

    def term(self, weighted: bool = False) -> Tensor:
        """The log-density scaled for inner plates that subsample, and by the user's weight if asked for."""
        term = self.log_prob
        if not _is_one(self.inner_scale):
            term = term * self.inner_scale
        if weighted and not _is_one(self.weight):
            term = term * self.weight
        return term


def _is_one(scale: float | Tensor) -> bool:
    return isinstance(scale, (int, float)) and scale == 1


def read_site(
    msg: dict[str, Any], layout: Layout, particles: int, *, tiled: bool = False, total: float | None = None
) -> Site:
    """The site that a trace recorded, with its particle and data axes in their places.

    Args:
        msg: The node of a trace.
        layout: Where the pair's plates are.
        particles: K.
        tiled: Whether the particles lie in the data plate, one batch after the other.
        total: N, for the data plate's scale.
    """
    fn, value = msg["fn"], msg["value"]
    frames = [f for f in msg["cond_indep_stack"] if f.vectorized and f.name != PARTICLES]
    data = layout.data_frame(msg)
    copies = particles if tiled and data is not None else 1

    inner, own = 1.0, 1.0
    for f in msg["cond_indep_stack"]:
        if f.full_size is not None and f.size > 0 and f.full_size != f.size:
            own = own * f.full_size / f.size
            inner = inner if f is data else inner * f.full_size / f.size
    weight = msg["scale"] if own == 1.0 else msg["scale"] / own
    data_scale = 1.0
    if data is not None and data.size > 0:
        subsampled = data.full_size is not None and data.full_size != data.size
        if subsampled:
            data_scale = data.full_size / data.size
        elif total is not None:
            data_scale = total * copies / data.size

    log_prob = fn.log_prob(value, *msg["args"], **msg["kwargs"])
    log_prob = scale_and_mask(log_prob, 1.0, msg["mask"])
    reduce = partial(_reduce, layout=layout, frames=frames, data=data, particles=particles, copies=copies)
    log_prob = reduce(log_prob)
    if isinstance(weight, Tensor) and weight.dim():
        weight = _place(weight, layout, frames, data, particles, copies)
    infer = msg["infer"]
    return Site(
        name=msg["name"],
        fn=fn,
        value=_canonical(value, getattr(fn, "event_dim", 0), layout, frames, data, particles, copies),
        log_prob=log_prob,
        is_observed=msg["is_observed"],
        is_auxiliary=bool(infer.get("is_auxiliary", False)),
        is_deterministic=bool(infer.get("_deterministic", False)),
        is_local=data is not None,
        plate_scale=inner * data_scale,
        inner_scale=inner,
        weight=weight,
        raw=value,
        data_dim=None if data is None else data.dim,
        mask=msg["mask"],
        reduce=reduce,
        plates=tuple(f.name for f in sorted(frames, key=lambda f: f.dim) if f is not data),
    )


PARTICLES = "_particles"
"""The name of the plate of particles."""


def _expanded(x: Tensor, layout: Layout, frames: list[Any], particles: int, copies: int, event_dim: int = 0) -> Tensor:
    """`x` with at least `depth + 1` batch axes, the axes of its plates (and of the particles) at full size."""
    width = layout.depth + 1
    while x.dim() < width + event_dim:
        x = x.unsqueeze(0)
    sizes = list(x.shape)
    for f in frames:
        if f.size > 0:
            sizes[f.dim - event_dim] = f.size
    if copies == 1:
        sizes[layout.particle_dim - event_dim] = particles
    return x.expand(sizes)


def _reduce(x: Tensor, layout: Layout, frames: list[Any], data: Any, particles: int, copies: int) -> Tensor:
    """Sum all plates but particles and data: `(…, particles, data)`, or `(…, particles)` without a data plate."""
    x = _expanded(x, layout, frames, particles, copies)
    others = [dim for dim in range(-layout.depth, 0) if data is None or dim != data.dim]
    if others:
        x = x.sum(others)
    if copies > 1:
        x = x.reshape(*x.shape[:-2], copies, -1)
    return x


def _place(x: Tensor, layout: Layout, frames: list[Any], data: Any, particles: int, copies: int) -> Tensor:
    """A weight with its particle and data axes where `log_prob` has them; it may not vary within other plates."""
    x = _expanded(x, layout, frames, particles, copies)
    others = [dim for dim in range(-layout.depth, 0) if data is None or dim != data.dim]
    for dim in sorted(others):
        if bool((x != x.narrow(dim, 0, 1)).any()):
            raise ValueError(
                "poutine.scale varies within a plate other than the one over data; such a weight cannot be told apart "
                "from the log-density. Give one weight per datum, or multiply the log-density in a pyro.factor."
            )
    x = x.amax(others) if others else x
    if copies > 1:
        x = x.reshape(*x.shape[:-2], copies, -1)
    return x


def _canonical(
    x: Tensor, event_dim: int, layout: Layout, frames: list[Any], data: Any, particles: int, copies: int
) -> Tensor:
    """A value as `(…, particles, data, other plates…, event…)`."""
    x = _expanded(x, layout, frames, particles, copies, event_dim)
    depth, plain = layout.depth, {f.dim for f in frames}
    first = x.dim() - event_dim - depth  # the axis right of the particles
    if data is not None:
        x = x.movedim(data.dim - event_dim, first)
    drop = 0
    for i, dim in enumerate(d for d in range(-depth, 0) if data is None or d != data.dim):
        axis = first + (data is not None) + i - drop
        if dim not in plain and x.shape[axis] == 1:
            x = x.squeeze(axis)
            drop += 1
    if copies > 1:
        axis = first
        x = x.reshape(*x.shape[: axis - 1], copies, -1, *x.shape[axis + 1 :])
    return x


def stack_sites(sites: list[Site]) -> Site:
    """One site of K particles from K sites of one."""
    first = sites[0]
    if len(sites) == 1:
        return first
    axis = first.log_prob.dim() - (2 if first.is_local else 1)
    return replace(
        first,
        value=torch.cat([s.value for s in sites], axis),
        log_prob=torch.cat([s.log_prob for s in sites], axis),
        raw=torch.stack([s.raw for s in sites]),
    )
