"""One site of one program as an array over particles and data, wherever its plates put these axes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor

from ppl_vae.core.observed import hidden
from ppl_vae.core.plates import PlateStructure
from ppl_vae.core.supports import refusal
from ppl_vae.distributions.relaxed import relaxed_log_prob
from ppl_vae.distributions.unwrap import is_masked, unmasked
from ppl_vae.errors import CheckError

PARTICLES = "_particles"
"""The name of the plate of particles."""

Scale = float | Tensor


@dataclass(frozen=True)
class Site:
    """One sample site of one program, in every particle.

    Attributes:
        name: The site's name.
        fn: Its distribution, as the program gave it.
        value: `(particles, data, other plates…, event…)` for a local site, `(particles, other plates…, event…)` for a
            global one; an axis that the guide enumerates lies further left.
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
        enum_dim: The batch dimension of the site's own enumeration, if the guide enumerates it.
        log_mass: Log q of a site of the guide, never masked: what its draws or values weigh. None in the model.
        mask: The site's mask, as the program gave it.
        is_masked: Whether the site is masked, by the program or by its distribution.
        particle_axis: The axis of particles in `value`, counted from the left: 0 if nothing is enumerated.
        plates: The names of its plates beside those of particles and data, in the order of the axes of `value`.
        reduce: Brings a tensor of the site's batch shape (a KL, say) to the shape of `log_prob`.
        estimator: The gradient estimator of a latent site of the guide.
        stands_for: The sites whose density this is, latent or observed ones, where others were summed out of it.
        shown: Gives the value with NaN where it is masked, for an observed site that is.
    """

    name: str
    fn: Any
    value: Tensor
    log_prob: Tensor
    is_observed: bool
    is_auxiliary: bool
    is_deterministic: bool
    is_local: bool
    plate_scale: Scale
    inner_scale: Scale
    weight: Scale
    raw: Tensor
    data_dim: int | None
    enum_dim: int | None
    log_mass: Tensor | None
    mask: bool | Tensor | None
    is_masked: bool
    particle_axis: int
    plates: tuple[str, ...]
    reduce: Callable[[Tensor], Tensor] = field(repr=False)
    estimator: Any = None
    stands_for: tuple[str, ...] = ()
    shown: Callable[[], Tensor] | None = field(default=None, repr=False)

    @property
    def seen(self) -> Tensor:
        """The value, with NaN where the program does not look at it."""
        return self.value if self.shown is None else self.shown()

    def term(self, weighted: bool = False) -> Tensor:
        """The log-density scaled for inner plates that subsample, and by the user's weight if asked for."""
        term = self.log_prob
        if not is_one(self.inner_scale):
            term = term * self.inner_scale
        if weighted and not is_one(self.weight):
            term = term * self.weight
        return term


def is_one(scale: Scale) -> bool:
    """True if a scale is the number 1 (a tensor is none, so that compiled code need not look into it)."""
    return isinstance(scale, (int, float)) and scale == 1


@dataclass(frozen=True)
class Axes:
    """The axes of a site's plates.

    Args:
        stack: The site's stack of plates.
        structure: The shape of the pair's programs.
        particles: K.
        tiled: Whether the particles lie in the data plate, one batch after the other.
    """

    stack: tuple[CondIndepStackFrame, ...]
    structure: PlateStructure
    particles: int
    tiled: bool = False

    @cached_property
    def data(self) -> CondIndepStackFrame | None:
        """The frame of the data plate."""
        return self.structure.data_frame(self.stack)

    @cached_property
    def frames(self) -> list[CondIndepStackFrame]:
        """The frames that have an axis, without that of the particles, from left to right."""
        frames = [f for f in self.stack if f.dim is not None and f.name != PARTICLES]
        return sorted(frames, key=lambda f: f.dim or 0)

    @property
    def copies(self) -> int:
        """The number of particles that lie in the data plate."""
        return self.particles if self.tiled and self.data is not None else 1

    def scales(self, total: float | None) -> tuple[Scale, Scale, Scale]:
        """The scale of the program's own subsampling, of plates beside the one over data, and of the data plate.

        Args:
            total: N, for a data plate that does not subsample by itself.
        """
        own: Scale = 1.0
        inner: Scale = 1.0
        for f in self.stack:
            if f.full_size is not None and f.size > 0 and f.full_size != f.size:
                own = own * f.full_size / f.size
                inner = inner if f is self.data else inner * f.full_size / f.size
        data: Scale = 1.0
        if self.data is not None and self.data.size > 0:
            full = self.data.full_size
            if full is not None and full != self.data.size:
                data = full / self.data.size
            elif total is not None:
                data = total * self.copies / self.data.size
        return own, inner, data

    def expand(self, x: Tensor, event_dim: int = 0) -> Tensor:
        """`x` with at least `depth + 1` batch axes, those of its plates and of the particles at full size."""
        while x.dim() < self.structure.depth + 1 + event_dim:
            x = x.unsqueeze(0)
        sizes = list(x.shape)
        for f in self.frames:
            if f.size > 0:
                assert f.dim is not None
                sizes[f.dim - event_dim] = f.size
        if self.copies == 1:
            sizes[self.structure.particle_dim - event_dim] = self.particles
        try:
            return x.expand(sizes)
        except RuntimeError as error:
            raise CheckError(
                f"Got a log-density of shape {tuple(x.shape)}, expected one that its plates, the particles and the "
                f"axes of enumerated sites allow, {tuple(sizes)}. Keep each axis in its place: "
                "z.sum(-1, keepdim=True) over a plate at -1."
            ) from error

    def reduce(self, x: Tensor) -> Tensor:
        """Sum all plates but particles and data: `(…, particles, data)`, or `(…, particles)` without a data plate."""
        x = self.expand(x)
        if self._others:
            x = x.sum(self._others)
        return self._untile(x)

    def place(self, weight: Tensor) -> Tensor:
        """A weight with its particle and data axes where `reduce` has them; it may not vary within other plates."""
        weight = self.expand(weight)
        for dim in self._others:
            if bool((weight != weight.narrow(dim, 0, 1)).any()):
                raise CheckError(
                    "poutine.scale varies within a plate other than the one over data; such a weight cannot be told "
                    "apart from the log-density. Give one weight per datum, or weight the density in a pyro.factor."
                )
        return self._untile(weight.amax(self._others) if self._others else weight)

    def canonical(self, value: Tensor, event_dim: int) -> Tensor:
        """A value as `(…, particles, data, other plates…, event…)`."""
        x = self.expand(value, event_dim)
        first = x.dim() - event_dim - self.structure.depth  # the axis right of the particles
        if self.data is not None:
            assert self.data.dim is not None
            x = x.movedim(self.data.dim - event_dim, first)
        plates = {f.dim for f in self.frames}
        axis = first + (self.data is not None)
        for dim in self._others:
            if dim not in plates and x.shape[axis] == 1:
                x = x.squeeze(axis)
            else:
                axis += 1
        if self.copies > 1:
            x = x.reshape(*x.shape[: first - 1], self.copies, x.shape[first] // self.copies, *x.shape[first + 1 :])
        return x

    @cached_property
    def _others(self) -> list[int]:
        return [dim for dim in range(-self.structure.depth, 0) if self.data is None or dim != self.data.dim]

    def _untile(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-2], self.copies, -1) if self.copies > 1 else x


def site_log_prob(msg: dict[str, Any], *, relaxed: bool = False, masked: bool = True) -> Tensor:
    """The log-density of a site of a trace at its value, in its batch shape, without scale.

    Args:
        msg: The node of a trace.
        relaxed: Whether the value is a relaxed one of a discrete site.
        masked: Whether to apply the masks.
    """
    fn = msg["fn"] if masked else unmasked(msg["fn"])
    if relaxed and not msg["is_observed"]:
        log_prob = relaxed_log_prob(fn, msg["value"])
    else:
        try:
            log_prob = fn.log_prob(msg["value"], *msg["args"], **msg["kwargs"])
        except ValueError as error:
            why = refusal(msg)
            if why is None:
                raise
            raise why from error
    if not isinstance(log_prob, Tensor):  # a number, of a distribution that is masked as a whole
        log_prob = torch.full(fn.batch_shape, float(log_prob), dtype=torch.get_default_dtype())
    return scale_and_mask(log_prob, 1.0, msg["mask"]) if masked else log_prob


def read_site(
    msg: dict[str, Any],
    axes: Axes,
    *,
    total: float | None = None,
    expect: Callable[[Tensor, dict[str, Any]], Tensor] | None = None,
    relaxed: bool = False,
    drawn: bool = False,
    estimator: Any = None,
) -> Site:
    """The site that a trace recorded.

    Args:
        msg: The node of a trace.
        axes: Where its plates have their axes.
        total: N, for the data plate's scale.
        expect: An expectation to take of the log-density before plates are summed.
        relaxed: Whether the value is a relaxed one of a discrete site.
        drawn: Whether it is a site of the guide.
        estimator: Its estimator, if it is a latent one of the guide.
    """
    fn, value, infer = msg["fn"], msg["value"], msg["infer"]
    enum_dim = infer.get("_enumerate_dim")
    event_dim: int = getattr(fn, "event_dim", 0)
    depth = axes.structure.depth + event_dim

    def reduce(x: Tensor) -> Tensor:
        try:
            return axes.reduce(x if expect is None else expect(x, msg))
        except CheckError as error:
            raise CheckError(f"Site {msg['name']!r}: {error}") from error

    own, inner, data = axes.scales(total)
    weight = msg["scale"] if is_one(own) else msg["scale"] / own
    log_prob = reduce(site_log_prob(msg, relaxed=relaxed))
    masked = isinstance(msg["mask"], Tensor) or msg["mask"] is False or is_masked(fn)
    mass = log_prob if drawn else None
    if drawn and (masked or enum_dim is not None):
        full = site_log_prob(msg, relaxed=relaxed, masked=False)
        mass = reduce(full) if enum_dim is None else axes.reduce(full)
    return Site(
        name=msg["name"],
        fn=fn,
        value=axes.canonical(value, event_dim),
        log_prob=log_prob,
        is_observed=msg["is_observed"],
        is_auxiliary=bool(infer.get("is_auxiliary", False)),
        is_deterministic=bool(infer.get("_deterministic", False)),
        is_local=axes.data is not None,
        plate_scale=inner * data,
        inner_scale=inner,
        weight=axes.place(weight) if isinstance(weight, Tensor) and weight.dim() else weight,
        raw=value,
        data_dim=None if axes.data is None else axes.data.dim,
        enum_dim=enum_dim,
        log_mass=mass,
        mask=msg["mask"],
        is_masked=masked,
        particle_axis=max(value.dim() - depth - 1, 0),
        plates=tuple(f.name for f in axes.frames if f is not axes.data),
        reduce=reduce,
        estimator=estimator,
        shown=(lambda: axes.canonical(hidden(msg, depth), event_dim)) if msg["is_observed"] else None,
    )


def marginal_site(
    name: str,
    log_prob: Tensor,
    scale: Scale,
    axes: Axes,
    total: float | None,
    stands_for: tuple[str, ...],
    is_observed: bool,
) -> Site:
    """The rest of a model in which sites were summed out: a log-density without a distribution or a value."""
    own, inner, data = axes.scales(total)
    reduced = axes.reduce(log_prob)
    return Site(
        name=name,
        fn=None,
        value=reduced,
        log_prob=reduced,
        is_observed=is_observed,
        is_auxiliary=False,
        is_deterministic=False,
        is_local=axes.data is not None,
        plate_scale=inner * data,
        inner_scale=inner,
        weight=scale if is_one(own) else scale / own,
        raw=log_prob,
        data_dim=None if axes.data is None else axes.data.dim,
        enum_dim=None,
        log_mass=None,
        mask=None,
        is_masked=False,
        particle_axis=0,
        plates=tuple(f.name for f in axes.frames if f is not axes.data),
        reduce=axes.reduce,
        stands_for=stands_for,
    )


def stack_sites(sites: list[Site]) -> Site:
    """One site of K particles from K sites of one."""
    first = sites[0]
    axis = first.log_prob.dim() - (2 if first.is_local else 1)
    masses = [s.log_mass for s in sites if s.log_mass is not None]
    return replace(
        first,
        value=torch.cat([s.value for s in sites], first.particle_axis),
        log_prob=torch.cat([s.log_prob for s in sites], axis),
        log_mass=None if first.log_mass is None else torch.cat(masses, axis),
        raw=torch.stack([s.raw for s in sites]),
    )
