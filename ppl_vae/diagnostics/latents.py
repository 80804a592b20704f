"""Posterior means, and what each latent unit carries: its KL, the variance of its mean, whether it is active."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.core.closed_kl import closed_kl
from ppl_vae.core.data import as_split, take_data
from ppl_vae.core.half import array_of, widened
from ppl_vae.core.series import seen, series_of
from ppl_vae.core.terms import analytic_kl, same
from ppl_vae.core.tiles import blocks, first_data, inference, plan
from ppl_vae.display import Displayed, View
from ppl_vae.distributions.unwrap import factors, mask_of

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.core.terms import Terms


ACTIVE: Final = 0.01
"""A unit is active where the variance over data of its posterior mean exceeds this (Burda et al. 2016)."""


def unit_kl(t: "Terms", name: str) -> Tensor | None:
    r"""KL of each unit of a latent site, for sites whose units are independent given their parents.

    $$\mathrm{KL}(q \,\|\, p) = \sum_j \mathrm{KL}(q_j \,\|\, p_j)$$

    Args:
        t: the terms of a batch.
        name: a latent site in the data plate.

    Returns:
        `(data, units)`, nats, averaged over particles; or None where q or p does not factorize (a full
        covariance, a flow, a mixture prior). Closed form where there is one, else by sampling.
    """
    q, p = t.guide[name], t.model.get(name)
    if p is None or q.is_auxiliary:
        return None
    q_unit, p_unit = factors(q.fn), factors(p.fn)
    if q_unit.event_dim or p_unit.event_dim or q.fn.event_dim != p.fn.event_dim or not same(q.mask, p.mask):
        return None
    if q.mask is False or mask_of(q.fn) is not None or mask_of(p.fn) is not None:
        return None
    closed = closed_kl(q_unit, p_unit) if analytic_kl(t, name) is not None else None
    if closed is not None:
        kl = closed
    elif t.num_particles > 1 and t.strategy == "loop":
        return None  # the distribution at hand is the first particle's only
    else:
        kl = widened(q_unit.log_prob(q.raw)) - widened(p_unit.log_prob(q.raw))
    event_dim = q.fn.event_dim
    kl = kl.expand(torch.broadcast_shapes(kl.shape, q.fn.batch_shape + q.fn.event_shape))
    kl = kl.flatten(kl.dim() - event_dim) if event_dim else kl.unsqueeze(-1)
    if isinstance(q.mask, Tensor):
        kl = torch.where(q.mask.unsqueeze(-1), kl, 0.0)
    return _expected(torch.vmap(q.reduce, in_dims=-1, out_dims=-1)(kl), t).mean(0)


def unit_values(t: "Terms", name: str) -> Tensor:
    """Values of a local site, `(particles, data, units)`; expected ones where they depend on an enumerated site.

    Steps of a series are NaN where the model masks them.
    """
    value = seen(t, name).detach().double()
    lead = t.latents[name].particle_axis + 2
    return _expected(value.flatten(lead) if value.dim() > lead else value[..., None], t)


def _expected(f: Tensor, t: "Terms") -> Tensor:
    """E over the sites that the guide enumerates: `(enumerated…, particles, data, units)` without the first axes."""
    f = f.movedim(-1, 0)
    depth = max((s.log_prob.dim() for s in t.guide.values() if s.is_local and s.enum_dim is not None), default=2)
    while f.dim() < depth + 1:
        f = f.unsqueeze(1)
    f = t.expect_local(f)
    return f.reshape(f.shape[0], *f.shape[-2:]).movedim(0, -1)


@dataclass
class UnitMoments:
    r"""Running mean and variance over particles of each unit's value, per datum.

    The variance over data of the posterior mean is estimated without bias by

    $$\mathrm{Var}_x\big(\bar z(x)\big) - \tfrac1K \, \mathrm{mean}_x\, s^2(x)$$

    where z̄ and s² are mean and variance of K draws.
    """

    count: int = 0
    total: Tensor | None = None
    square: Tensor | None = None

    def update(self, value: Tensor) -> None:
        """Take a chunk of particles, `(particles, data, units)`."""
        total, square = value.sum(0), value.square().sum(0)
        self.total = total if self.total is None else self.total + total
        self.square = square if self.square is None else self.square + square
        self.count += value.shape[0]

    @property
    def mean(self) -> Tensor:
        """Posterior means `(data, units)`."""
        assert self.total is not None
        return self.total / self.count

    @property
    def variance(self) -> Tensor:
        """Posterior variances `(data, units)`; NaN for a single particle."""
        assert self.square is not None
        return (self.square / self.count - self.mean.square()).clamp(min=0) * self.count / (self.count - 1 or torch.nan)


def variance_of_means(mean: Tensor, variance: Tensor, particles: int) -> Tensor:
    """Estimate the variance over data of the posterior means, `(units,)`, from `UnitMoments` of all data.

    >>> mean = torch.tensor([[0.0], [2.0]])
    >>> variance_of_means(mean, torch.zeros(2, 1), particles=10)
    tensor([2.])
    """
    if len(mean) < 2:
        return torch.full_like(mean[0], torch.nan)
    noise = variance.nan_to_num().mean(0) / particles
    return (mean.var(0) - noise).clamp(min=0)


Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Encoding(Displayed):
    """A latent site of some data.

    Attributes:
        name: the site.
        mean: posterior means `(data, units)`.
        kl: KL per unit, nats per datum, where it divides into units.
        variance: over data of the exact posterior means, estimated without bias, `(units,)`.
        shape: `(data, *shape)` is how the program sees the latent.
    """

    name: str
    mean: Array
    kl: Array | None
    variance: Array
    shape: tuple[int, ...]

    @property
    def active(self) -> NDArray[np.bool_]:
        """True if the variance exceeds 0.01, `(units,)`."""
        return self.variance > ACTIVE

    def _view(self) -> View:
        active = f"{int(self.active.sum())} of {len(self.variance)} units active"
        return View(f"Encoding({self.name}: {len(self.mean)} data, {active})")


def encodings(vae: "VAE", data: Any, *, draws: int = 32, seed: int = 0) -> list[Encoding]:
    """Give posterior means and KL per unit of every continuous latent in the data plate.

    A series of sites (`z_0`, `z_1`, …) is one latent: its mean is that over the steps of a datum, its KL a sum over
    time, and its variance is over data and time.

    Args:
        vae: the pair.
        data: a `Split`, a tensor or a tuple of them.
        draws: per datum, whose mean is taken.
        seed: of the draws.
    """
    split = take_data(vae, data)
    moments: dict[str, list[Tensor]] = {}
    kl: dict[str, list[Tensor]] = {}
    spread: dict[str, list[Tensor]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    first = first_data(vae, split)
    with inference(vae, first) as draw:
        tiling = plan(vae, first, len(split), draws, "1GB", seed)
        for block in blocks(vae, split, tiling):
            moved: dict[str, UnitMoments] = {}
            units: dict[str, Tensor] = {}
            for _, chunk in block.chunks(draws):
                t = draw(block.batch, chunk)
                found = series_of(t)
                for name, site in t.latents.items():
                    if not site.is_local or name not in t.model or not site.value.is_floating_point():
                        continue
                    moved.setdefault(name, UnitMoments()).update(unit_values(t, name))
                    shapes[name] = tuple(site.value.shape[2:])
                    unit = unit_kl(t, name)
                    if unit is not None:
                        units[name] = units.get(name, torch.zeros(())) + unit.double().cpu() * chunk / draws
            for name, running in moved.items():
                moments.setdefault(name, []).append(running.mean.cpu())
                spread.setdefault(name, []).append(running.variance.cpu())
                if name in units:
                    kl.setdefault(name, []).append(units[name])
    merged: dict[str, Encoding] = {}
    for stem, names in found.items():
        if names[0] not in moments:
            continue
        mean, variance = (torch.stack([torch.cat(of.pop(n)) for n in names], 1) for of in (moments, spread))
        is_step = ~mean[..., 0].isnan()
        sums = [torch.cat(kl.pop(n)).mean(0) for n in names if n in kl]
        merged[stem] = Encoding(
            stem,
            array_of(mean.nanmean(1)),
            array_of(torch.stack(sums).sum(0)) if len(sums) == len(names) else None,
            array_of(variance_of_means(mean[is_step], variance[is_step], draws)),
            shapes[names[0]],
        )
    alone = [
        Encoding(
            name,
            array_of(torch.cat(parts)),
            array_of(torch.cat(kl[name]).mean(0)) if name in kl and len(kl[name]) == len(parts) else None,
            array_of(variance_of_means(torch.cat(parts), torch.cat(spread[name]), draws)),
            shapes[name],
        )
        for name, parts in moments.items()
    ]
    return [*merged.values(), *alone]


def all_codes(vae: "VAE", data: Any, *, draws: int = 32, seed: int = 0) -> Array:
    """Posterior means of all continuous latents side by side, `(data, units)`; no column where there are none."""
    found = [code.mean for code in encodings(vae, data, draws=draws, seed=seed)]
    return np.concatenate(found, axis=1) if found else np.zeros((len(as_split(data)), 0))
