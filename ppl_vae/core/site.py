"""One site of one program as an array over particles and data, wherever its plates put these axes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from ppl_vae.core.axes import Axes, Scale
from ppl_vae.core.half import wide_log_prob, widened
from ppl_vae.core.moments import moments
from ppl_vae.core.observed import hidden
from ppl_vae.core.supports import refusal
from ppl_vae.display import Displayed, View
from ppl_vae.distributions.relaxed import relaxed_log_prob
from ppl_vae.distributions.unwrap import family, is_masked, unmasked
from ppl_vae.errors import CheckError, DataError


@dataclass(frozen=True, repr=False)
class Site(Displayed):
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
        shown: Gives the value with NaN where it is masked; of data that were drawn anew, but for what was missing.
        raw_shown: The same, of `raw`, for an observed site.
        moments: Gives mean and variance of its distribution, each as `value`; None where it does not know them.
        placed: Puts values of n data, as `value` without the axis of particles, where a program has them (`raw`).
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
    raw_shown: Callable[[], Tensor] | None = field(default=None, repr=False)
    moments: Callable[[], tuple[Tensor, Tensor] | None] = field(default=lambda: None, repr=False)

    @property
    def role(self) -> str:
        """The part that it has in its program, in a word."""
        if self.is_deterministic:
            return "deterministic"
        return "observed" if self.is_observed else "auxiliary" if self.is_auxiliary else "latent"

    def _view(self) -> View:
        values, density = tuple(self.value.shape), tuple(self.log_prob.shape)
        return View(f"Site({self.name} ~ {family(self.fn)}, {self.role}: values {values}, log_prob {density})")

    placed: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)

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


def site_log_prob(msg: dict[str, Any], *, relaxed: bool = False, masked: bool = True) -> Tensor:
    """The log-density of a site of a trace at its value, in its batch shape, without scale.

    Args:
        msg: The node of a trace.
        relaxed: Whether the value is a relaxed one of a discrete site.
        masked: Whether to apply the masks.
    """
    fn = msg["fn"] if masked else unmasked(msg["fn"])
    if relaxed and not msg["is_observed"]:
        log_prob = widened(relaxed_log_prob(fn, msg["value"]))
    else:
        try:
            log_prob = wide_log_prob(fn, msg["value"], *msg["args"], **msg["kwargs"])
        except ValueError as error:
            why = refusal(msg)
            if why is None:
                raise
            raise why from error
        except RuntimeError as error:
            if not msg["is_observed"] or getattr(msg["value"], "dtype", None) != torch.bool:
                raise
            raise DataError(
                f"Got booleans at site {msg['name']!r}, with which {family(fn)} cannot calculate, expected numbers: "
                "observe x.float()."
            ) from error
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
        shown=lambda: axes.canonical(hidden(msg, depth), event_dim),
        raw_shown=(lambda: hidden(msg, depth)) if msg["is_observed"] else None,
        moments=lambda: _moments(fn, axes),
        placed=lambda values: axes.placed(values, event_dim),
    )


def _moments(fn: Any, axes: Axes) -> tuple[Tensor, Tensor] | None:
    found = moments(fn)
    if found is None:
        return None
    mean, variance, event_dim = found
    return axes.canonical(mean, event_dim), axes.canonical(variance, event_dim)


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
    shown = [s.raw_shown for s in sites if s.raw_shown is not None]
    return replace(
        first,
        shown=lambda: torch.cat([s.seen for s in sites], first.particle_axis),
        raw_shown=(lambda: torch.stack([show() for show in shown])) if shown else None,
        value=torch.cat([s.value for s in sites], first.particle_axis),
        log_prob=torch.cat([s.log_prob for s in sites], axis),
        log_mass=None if first.log_mass is None else torch.cat(masses, axis),
        raw=torch.stack([s.raw for s in sites]),
        moments=lambda: _stacked([s.moments() for s in sites], first.particle_axis),
    )


def _stacked(moments: list[tuple[Tensor, Tensor] | None], axis: int) -> tuple[Tensor, Tensor] | None:
    known = [m for m in moments if m is not None]
    if len(known) < len(moments):
        return None
    return torch.cat([mean for mean, _ in known], axis), torch.cat([variance for _, variance in known], axis)
