"""Posterior means: what a pair makes of its data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.diagnostics.latents import ACTIVE, UnitMoments, unit_kl, unit_values, variance_of_means
from ppl_vae.diagnostics.tiles import as_pair_takes, as_split, inference, plan
from ppl_vae.terms import terms

if TYPE_CHECKING:
    from ppl_vae.vae import VAE

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Encoding:
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
        """Whether the variance exceeds 0.01, `(units,)`."""
        return self.variance > ACTIVE


def encodings(vae: "VAE", data: Any, *, draws: int = 32, seed: int = 0) -> list[Encoding]:
    """Give posterior means and KL per unit of every continuous latent in the data plate.

    Args:
        vae: the pair.
        data: a `Split`, a tensor or a tuple of them.
        draws: per datum, whose mean is taken.
        seed: of the draws.
    """
    split = as_split(data)
    moments: dict[str, list[Tensor]] = {}
    kl: dict[str, list[Tensor]] = {}
    spread: dict[str, list[Tensor]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    first = as_pair_takes(split.batch(slice(0, 2)), vae)
    with inference(vae, first):
        tiling = plan(vae, first, len(split), draws, "1GB", seed)
        for start in range(0, len(split), tiling.data):
            batch = as_pair_takes(split.batch(slice(start, start + tiling.data)), vae)
            moved: dict[str, UnitMoments] = {}
            units: dict[str, Tensor] = {}
            for number, chunk in enumerate(tiling.chunks(draws)):
                tiling.seed_all(start, number)
                t = terms(vae, batch, chunk)
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
    return [
        Encoding(
            name,
            torch.cat(parts).numpy(),
            torch.cat(kl[name]).mean(0).numpy() if name in kl and len(kl[name]) == len(parts) else None,
            variance_of_means(torch.cat(parts), torch.cat(spread[name]), draws).numpy(),
            shapes[name],
        )
        for name, parts in moments.items()
    ]


def all_codes(vae: "VAE", data: Any, *, draws: int = 32, seed: int = 0) -> Array:
    """Posterior means of all continuous latents side by side, `(data, units)`; no column where there are none."""
    found = [code.mean for code in encodings(vae, data, draws=draws, seed=seed)]
    return np.concatenate(found, axis=1) if found else np.zeros((len(as_split(data)), 0))
