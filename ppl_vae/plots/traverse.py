"""The mean of x while one latent is moved through values in its support, the others held or following."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.codes.decode import decode
from ppl_vae.core.batch import take
from ppl_vae.core.generate import of_data
from ppl_vae.core.run import prepare
from ppl_vae.core.site import Site
from ppl_vae.core.terms import Terms
from ppl_vae.diagnostics.latents import Encoding, unit_kl
from ppl_vae.distributions.unwrap import factors, support_of
from ppl_vae.errors import ArgumentError, CheckError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

Array = NDArray[np.float64]

COPIES = 32
"""Draws of the latents that follow the moved one, over which the mean of x is averaged."""
MOST_CATEGORIES = 20
ROWS = 6
"""Data that are shown with each category, where a latent has one unit."""


@dataclass(frozen=True)
class Traversal:
    """The mean of x where one latent is moved.

    Attributes:
        mean: `(rows, steps, *shape)`.
        values: that the unit of a row takes, `(rows, steps)`; names of categories `(steps,)` of a discrete latent.
        rows: the names of units, or of data.
        steps: what the values are.
        held: what the other latents are.
    """

    mean: Tensor
    values: Array | list[str]
    rows: list[str]
    steps: str
    held: str


def continuous(
    vae: "VAE", t: Terms, code: Encoding, units: int, levels: Sequence[float], seed: int
) -> Traversal | None:
    """Move one unit at a time through its own quantiles, which lie in the latent's support, whatever that is.

    The rest is at the code of the first datum; latents that depend on the moved one follow it, drawn from the model.

    Args:
        vae: the pair.
        t: terms of some data.
        code: the latent, encoded.
        units: how many are moved, those with the largest KL.
        levels: of the quantiles over data.
        seed: of the draws that follow.

    Returns:
        The means; None for a series of sites, and where it is not known what values the latent may take.

    Raises:
        CheckError: if the units of the latent cannot be moved one at a time.
    """
    site = t.latents.get(code.name)
    if site is None or support_of(site.fn) is None:
        return None
    order = np.argsort(-(code.kl if code.kl is not None else code.mean.var(0)))[:units]
    drawn = site.value[0].detach().double().cpu().reshape(t.batch_size, -1).numpy()
    if drawn.shape[1] != code.mean.shape[1]:
        return None
    values = np.quantile(drawn[:, order], levels, axis=0).T
    support = site.fn.support
    grid = np.tile(code.mean[0], (len(order), len(levels), 1))
    for row, unit in enumerate(order):
        if isinstance(support, type(constraints.simplex)):  # the others make room in proportion
            grid[row] *= ((1 - values[row]) / max(1 - code.mean[0, unit], 1e-12))[:, None]
        grid[row, :, unit] = values[row]
    moved = torch.from_numpy(grid).to(site.value).reshape(-1, *site.value.shape[2:])
    mean = _decoded(vae, t, code.name, moved, np.zeros(len(moved), dtype=int), seed)
    names = [_unit(code.name, site.value.shape[2:], int(unit)) for unit in order]
    shape = (len(order), len(levels), *mean.shape[1:])
    return Traversal(mean.reshape(shape), values, names, "quantile of the unit over data", "the code of one datum")


def categories(vae: "VAE", t: Terms, name: str, units: int, seed: int) -> Traversal | None:
    """Give a discrete latent each of its values, a column a category, one unit at a time.

    A latent of several units is moved at the code of one datum, the units with the largest KL first; of a latent with
    one unit each row is another datum, where others are held.

    Args:
        vae: the pair.
        t: terms of some data.
        name: the latent.
        units: how many are moved.
        seed: of the draws that follow.

    Returns:
        The means; None for a latent that is not discrete, or has more than 20 values.
    """
    site = t.latents[name]
    base = factors(site.fn)
    if not getattr(base, "has_enumerate_support", False):
        return None
    support = base.enumerate_support(expand=False)
    if len(support) > MOST_CATEGORIES:
        return None
    event = site.value.shape[2:]
    inner = base.event_dim
    several = int(np.prod(event[: len(event) - inner], dtype=int))
    choices = support.reshape(len(support), *support.shape[support.dim() - inner :])
    own = site.value[0].reshape(t.batch_size, several, *event[len(event) - inner :])
    alone = several == 1 and bool(_held(vae, t, name))
    data = np.arange(min(ROWS, t.batch_size)) if alone else np.zeros(min(units, several), dtype=int)
    kl = None if several == 1 else unit_kl(t, name)
    ranked = list(range(several))
    if kl is not None and kl.shape[-1] == several:
        ranked = kl.mean(0).argsort(descending=True).tolist()
    moved = own[torch.from_numpy(data)].repeat_interleave(len(choices), 0).clone()
    rows = np.arange(len(data)).repeat(len(choices))
    at = torch.tensor([0 if alone else ranked[row] for row in rows])
    moved[torch.arange(len(moved)), at] = choices.repeat(len(data), *[1] * inner).to(moved)
    mean = _decoded(vae, t, name, moved.reshape(len(moved), *event), data[rows], seed)
    told = [f"datum {i}" for i in data] if alone else [_unit(name, event[: len(event) - inner], u) for u in ranked]
    held = "others at the code of the datum" if alone else "the code of one datum" if several > 1 else ""
    shape = (len(data), len(choices), *mean.shape[1:])
    names = [str(i) for i in range(len(choices))]
    return Traversal(mean.reshape(shape), names, told[: len(data)], f"category of {name}", held)


def _unit(name: str, shape: Sequence[int], unit: int) -> str:
    return f"{name}[{unit}]" if shape else name


def _held(vae: "VAE", t: Terms, name: str) -> dict[str, Site]:
    """The other latents of the data that do not follow the moved one."""
    parents = prepare(vae, t.batch, mode="draw").plates.parents
    follow, before = {name}, set[str]()
    while follow != before:
        before = set(follow)
        follow |= {n for n, of in parents.items() if of & follow}
    return {n: s for n, s in t.latents.items() if n not in follow and s.is_local and not s.is_auxiliary}


def _decoded(vae: "VAE", t: Terms, name: str, moved: Tensor, data: NDArray[Any], seed: int) -> Tensor:
    """E[x | moved, held] of n values `(n, *event)`, each at the codes of one of the data."""
    held = _held(vae, t, name)
    others = {n for n, s in t.latents.items() if s.is_local and not s.is_auxiliary} - {name, *held}
    copies = COPIES if others else 1
    index = torch.from_numpy(np.repeat(data, copies)).to(moved.device)
    latents = {n: s.value[0][index] for n, s in held.items()} | {name: moved.repeat_interleave(copies, 0)}
    try:
        made = decode(vae, latents, like=take(t.batch, index), seed=seed)
    except ArgumentError as error:
        raise CheckError(f"{name!r} cannot be moved, one unit at a time: {error}") from error
    mean = of_data(made, t.batch[0]) if isinstance(made, dict) else made
    return mean.reshape(len(moved), copies, *mean.shape[1:]).mean(1)
