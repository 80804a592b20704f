"""Simulation-based calibration of an amortized guide: thousands of simulated data, no refit; ranks and TARP."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ppl_vae.core.data import as_pair_takes
from ppl_vae.core.simulate import reference_batch, simulate
from ppl_vae.core.tiles import inference, plan
from ppl_vae.display import Displayed, View
from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.files import folder
from ppl_vae.runs.files import jsonable, write_atomically
from ppl_vae.runs.tables import to_csv

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.core.pair import VAE
    from ppl_vae.core.site import Site


Array = NDArray[np.float64]

LEVEL: Final = 0.05
"""A p-value of uniformity at or below this, corrected for all that was looked at, counts as a finding."""


def ecdf_difference(values: ArrayLike, points: ArrayLike) -> Array:
    """Give F̂(t) − t for values in [0, 1], `(n, units)`, at points t: `(points, units)`.

    >>> ecdf_difference([[0.25], [0.75]], [0.5]).tolist()
    [[0.0]]
    """
    values, points = np.asarray(values, dtype=np.float64), np.asarray(points, dtype=np.float64)
    counts = np.stack([np.count_nonzero(values <= t, axis=0) for t in points])  # all units at once: there may be many
    return counts / len(values) - points[:, None]


@lru_cache(maxsize=32)
def band_level(n: int, num_points: int, alpha: float = 0.05, simulations: int = 4_000) -> float:
    """Find the pointwise level at which bands for an ECDF of n uniform values hold everywhere at once.

    Found by simulation with a fixed seed: for each of many uniform samples, the smallest pointwise two-sided
    binomial tail; its α-quantile is the level.

    Args:
        n: number of values.
        num_points: evaluation points 1/(num_points + 1), 2/(num_points + 1), …
        alpha: probability with which a uniform sample leaves the bands anywhere.
        simulations: samples drawn to find the level; its relative standard error is about √((1 − α)/(α · this)).

    References:
        Säilynoja, Bürkner and Vehtari (2022), Graphical test for discrete uniformity and its applications in
            goodness-of-fit evaluation and multiple sample comparison, https://arxiv.org/abs/2103.10522
    """
    rng = np.random.default_rng(0)
    points = grid(num_points)
    # Counts below each point are partial sums of a multinomial sample: no sorting needed.
    cells = rng.multinomial(n, np.full(num_points + 1, 1 / (num_points + 1)), size=simulations)
    return float(np.quantile(_two_sided(cells.cumsum(axis=1)[:, :-1], n, points).min(axis=1), alpha))


def grid(num_points: int) -> Array:
    """Give the points at which bands are evaluated."""
    return np.arange(1, num_points + 1) / (num_points + 1)


def _two_sided(counts: NDArray[np.int64], n: int, points: Array) -> Array:
    from scipy.stats import binom  # half of the time that it takes to import this room

    below, above = binom.cdf(counts, n, points), binom.sf(counts - 1, n, points)
    return 2 * np.minimum(np.minimum(below, above), 0.5)


def simultaneous_band(n: int, num_points: int, alpha: float = 0.05) -> tuple[Array, Array]:
    """Give lower and upper limits of F̂(t) − t at `grid(num_points)` that hold everywhere at once."""
    from scipy.stats import binom

    level, points = band_level(n, num_points, alpha), grid(num_points)
    low, high = binom.ppf(level / 2, n, points), binom.ppf(1 - level / 2, n, points)
    return low / n - points, high / n - points


def uniformity_p(values: ArrayLike, num_points: int = 50, simulations: int = 4_000) -> Array:
    """Give p-values of "the values are uniform", one per unit, from the largest departure of the ECDF.

    Args:
        values: numbers in [0, 1], `(n, units)`.
        num_points: evaluation points.
        simulations: uniform samples that the departure is compared with: no p-value is below 1/(this + 1).

    >>> rng = np.random.default_rng(0)
    >>> p = uniformity_p(np.stack([rng.uniform(size=500), rng.beta(2, 2, size=500)], axis=1))
    >>> bool(p[0] > 0.05), bool(p[1] < 0.01)
    (True, True)
    """
    values = np.asarray(values, dtype=np.float64)
    n, points = len(values), grid(num_points)
    counts = np.rint((ecdf_difference(values, points) + points[:, None]) * n).astype(np.int64)
    observed = _two_sided(counts.T, n, points).min(axis=1)
    reference = np.sort(_smallest_tails(n, num_points, simulations))
    return (1 + np.searchsorted(reference, observed, side="right")) / (simulations + 1)


@lru_cache(maxsize=8)
def _smallest_tails(n: int, num_points: int, simulations: int) -> Array:
    rng = np.random.default_rng(1)
    cells = rng.multinomial(n, np.full(num_points + 1, 1 / (num_points + 1)), size=simulations)
    return np.asarray(_two_sided(cells.cumsum(axis=1)[:, :-1], n, grid(num_points)).min(axis=1))


def central_coverage(values: ArrayLike, levels: ArrayLike) -> Array:
    """Give how often the truth lies in the central interval of each level, `(levels, units)`.

    A truth whose rank is u in [0, 1] lies in the central interval of level |2u − 1| and all wider ones.
    """
    distance = np.abs(2 * np.asarray(values, dtype=np.float64) - 1)
    return np.stack([(distance <= level).mean(axis=0) for level in np.asarray(levels)])


TARP: Final = "TARP"
"""The name under which ranks of all latents together stand beside those of sites."""


class Tarp:
    """Reference points in latent space, each a random linear function of its datum.

    A reference that did not depend on x would let a guide pass that always gives the prior.

    Args:
        batch: simulated data, from which x and the prior take their scales.
        latent: their latents.

    References:
        Lemos, Coogan, Hezaveh and Perreault-Levasseur (2023), Sampling-Based Accuracy Testing of Posterior Estimators
            for General Inference, https://arxiv.org/abs/2302.03026
    """

    def __init__(self, batch: tuple[Any, ...], latent: "Mapping[str, Site]") -> None:
        values = {name: site.value[0] for name, site in latent.items() if site.is_local}
        self.names = [name for name, value in values.items() if value.is_floating_point()]
        if not self.names:
            return
        z, x = _rows(values, self.names), _data(batch)
        self.location, self.scale = z.mean(0), z.std(0).clamp(min=1e-12)
        self.centre, self.spread = x.mean(0), x.std(0).clamp(min=1e-6)
        self.direction = torch.randn(x.shape[1], z.shape[1], dtype=torch.float64).to(z.device) / x.shape[1] ** 0.5

    def start(self, batch: tuple[Any, ...], truths: Mapping[str, Tensor]) -> "DistanceRanks":
        """Take simulated data and their latents."""
        if not self.names:
            return DistanceRanks(self)
        reference = ((_data(batch) - self.centre) / self.spread).clamp(-10, 10) @ self.direction
        truth = self.standard(_rows(truths, self.names))
        return DistanceRanks(self, reference, (truth - reference).norm(dim=-1))

    def standard(self, z: Tensor) -> Tensor:
        """In units of the prior's standard deviations."""
        return (z - self.location) / self.scale


@dataclass
class DistanceRanks:
    """Counts the draws that are nearer to the reference than the truth, and ties, `(2, data)`."""

    tarp: Tarp
    reference: Tensor | None = None
    distance: Tensor | None = None
    count: Tensor | None = None

    def update(self, values: Mapping[str, Tensor]) -> None:
        """Take draws of the guide, `(particles, data, …)` by site."""
        if self.reference is None or any(name not in values for name in self.tarp.names):
            return
        rows = torch.cat([_flat(values[name], 2) for name in self.tarp.names], dim=-1)
        distance = (self.tarp.standard(rows) - self.reference).norm(dim=-1)
        found = torch.stack([(distance < self.distance).sum(0), (distance == self.distance).sum(0)])
        self.count = found if self.count is None else self.count + found


def _flat(value: Tensor, lead: int) -> Tensor:
    return value.double().flatten(lead) if value.dim() > lead else value.double().unsqueeze(-1)


def _rows(values: Mapping[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([_flat(values[name], 1) for name in names], dim=-1)


def _data(batch: tuple[Any, ...]) -> Tensor:
    return _flat(next(part for part in batch if isinstance(part, Tensor)), 1)


@dataclass(frozen=True, repr=False)
class Calibration(Displayed):
    """The findings of simulation-based calibration.

    Attributes:
        ranks: by latent site, `(simulations, units)` in [0, 1]: the fraction of the guide's draws below the truth,
            ties and ends broken at random; uniform if the guide is exact on data that the model makes. Under
            `"TARP"`, the fraction of draws nearer to the reference point than the truth, `(simulations, 1)`.
        table: a row per unit, and one for TARP: `site`, `unit`, `p_value` of uniformity, mean `rank` (½ if unbiased),
            `spread` (the ranks' standard deviation over that of a uniform: above 1 the guide is too narrow),
            `coverage_50` and `coverage_90` (of central intervals).
        summary: plain numbers.
    """

    ranks: dict[str, Array]
    table: "pd.DataFrame"
    summary: dict[str, Any]

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write `summary.json`, `units.csv` and `ranks.npz`."""
        import io

        directory = folder(directory)
        buffer = io.BytesIO()
        arrays: dict[str, Any] = dict(self.ranks)
        np.savez_compressed(buffer, **arrays)
        write_atomically(directory / "ranks.npz", buffer.getvalue())
        write_atomically(directory / "units.csv", to_csv(self.table, index=False))
        write_atomically(directory / "summary.json", json.dumps(jsonable(self.summary), indent=2) + "\n")
        return directory

    def __str__(self) -> str:
        s = self.summary
        lines = [
            f"{s['simulations']} simulated data, {s['draws']} draws each, {s['num_units']} units",
            f"smallest p-value of uniformity {s['p_value']:.2g} (corrected for all units and TARP)",
            f"p-value of TARP, all units together, {s['tarp_p_value']:.2g}",
            f"central 90% intervals cover {s['coverage_90']:.1%}, central 50% intervals {s['coverage_50']:.1%}",
            s["verdict"],
        ]
        return "\n".join(lines)

    def _view(self) -> View:
        title, *rest = str(self).splitlines()
        return View(
            f"Calibration({title})",
            [str(c) for c in self.table.columns],
            [list(row) for row in self.table.itertuples(index=False)],
            rest,
        )


def calibrate(
    vae: "VAE",
    simulations: int = 2_000,
    draws: int = 100,
    *,
    like: Any = None,
    memory: int | str = "1GB",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    r"""Check a guide against data whose latents are known, because the model made them.

    For z* ~ p(z), x* ~ p(x | z*), and z₁ … z_L ~ q(z | x*), the rank of z*ⱼ among the draws is uniform for every
    unit j if q is the posterior. U-shaped ranks say that the guide is too narrow, hump-shaped ones that it is
    too wide, a slope that it is biased. It is the guide that is judged, on the model's own data: that the model
    fits real data is another question.

    Units one by one miss wrong dependence between them, and a guide that always gives the prior. So all latents are
    also judged together by TARP: with a reference point r that depends on x* alone (a random linear function of it),
    the share of draws nearer to r than z* is uniform for the exact posterior, and, over enough references, for
    nothing else. Distances are in units of the prior's standard deviations.

    Args:
        vae: the pair.
        simulations: simulated data.
        draws: draws of the guide per datum, L.
        like: a batch whose shapes the simulated data take, and whose other inputs are used; by default the
            first batch the pair has seen.
        memory: upper limit of the working memory.
        seed: of everything drawn; the caller's random state is untouched.
        progress: called with the number of data done and of all data.

    Raises:
        CheckError: if the prior cannot be drawn from, or there is no latent of numbers in the data plate.

    References:
        Talts et al. (2018), Validating Bayesian Inference Algorithms with Simulation-Based Calibration,
            https://arxiv.org/abs/1804.06788
        Säilynoja, Bürkner and Vehtari (2022), Graphical test for discrete uniformity and its applications in
            goodness-of-fit evaluation and multiple sample comparison, https://arxiv.org/abs/2103.10522
        Lemos, Coogan, Hezaveh and Perreault-Levasseur (2023), Sampling-Based Accuracy Testing of Posterior Estimators
            for General Inference, https://arxiv.org/abs/2302.03026

    >>> import ppl_vae as pv, pyro, pyro.distributions as dist
    >>> def model(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    >>> def guide(x):                                    # too narrow: 0.3 where √½ is right
    ...     with pyro.plate("data", x.shape[0]):
    ...         pyro.sample("z", dist.Normal(x / 2, 0.3))
    >>> found = calibrate(pv.VAE(model, guide), 500, like=torch.zeros(2))
    >>> found.summary["coverage_90"] < 0.7, found.summary["p_value"] < 0.01
    (True, True)
    """
    if simulations < 2 or draws < 1:
        raise ArgumentError(f"Got simulations={simulations}, draws={draws}, expected at least 2 and 1.")
    batch = as_pair_takes(reference_batch(vae, like), vae)
    ranks: dict[str, list[Array]] = {}
    with inference(vae, batch) as draw:
        tiling = plan(vae, batch, simulations, draws, memory, seed)
        tiling.seed_all(simulations, 0)  # no block begins there
        tarp = Tarp(*simulate(vae, batch, 500))
        for start in range(0, simulations, tiling.data):
            n = min(tiling.data, simulations - start)
            tiling.seed_all(start, 0)
            simulated, latent = simulate(vae, batch, n, start)
            counts: dict[str, Tensor] = {}
            truths = {name: site.value[0] for name, site in latent.items() if site.is_local}
            nearer = tarp.start(simulated, truths)
            for number, chunk in enumerate(tiling.chunks(draws)):
                tiling.seed_all(start, number + 1)
                t = draw(simulated, chunk)
                for name, truth in truths.items():
                    if name not in t.latents:
                        continue
                    value = t.latents[name].value
                    # Ties, which discrete latents have, are kept apart from draws below.
                    found = torch.stack([(value < truth).sum(0), (value == truth).sum(0)])
                    counts[name] = counts[name] + found if name in counts else found
                nearer.update({name: site.value for name, site in t.latents.items()})
            if nearer.count is not None:
                counts[TARP] = nearer.count
            for name, (below, ties) in counts.items():
                # The truth falls into a gap between draws, or among its ties: any place there is as likely.
                rank = (below + torch.rand(below.shape).to(below.device) * (ties + 1)) / (draws + 1)
                ranks.setdefault(name, []).append(rank.reshape(n, -1).double().clamp(0, 1).cpu().numpy())
            if progress is not None:
                progress(start + n, simulations)
    if not ranks:
        raise CheckError("No latent site in the data plate that model and guide share: nothing to rank.")
    joined = {name: np.concatenate(parts) for name, parts in ranks.items()}
    return _calibration(joined, simulations, draws, seed)


def _calibration(ranks: dict[str, Array], simulations: int, draws: int, seed: int) -> Calibration:
    import pandas as pd

    rows = []
    for name, rank in ranks.items():
        p_values = uniformity_p(rank)
        half, ninety = central_coverage(rank, [0.5, 0.9])
        for unit in range(rank.shape[1]):
            rows.append(
                {
                    "site": name,
                    "unit": unit,
                    "p_value": float(p_values[unit]),
                    "rank": float(rank[:, unit].mean()),
                    "spread": float(rank[:, unit].std() * np.sqrt(12)),
                    "coverage_50": float(half[unit]),
                    "coverage_90": float(ninety[unit]),
                }
            )
    table = pd.DataFrame(rows)
    units = table[table["site"] != TARP]
    p_value = min(1.0, float(table["p_value"].min()) * len(table))
    worst = rows[int(table["p_value"].to_numpy().argmin())]
    summary = {
        "simulations": simulations,
        "draws": draws,
        "seed": seed,
        "num_units": len(units),
        "p_value": p_value,
        "coverage_50": float(units["coverage_50"].mean()),
        "coverage_90": float(units["coverage_90"].mean()),
        "spread": float(units["spread"].mean()),
        "tarp_p_value": float(table["p_value"][table["site"] == TARP].min()),
        "verdict": _verdict(p_value, worst, simulations),
    }
    return Calibration(ranks, table, summary)


def _verdict(p_value: float, worst: dict[str, Any], simulations: int) -> str:
    if p_value > LEVEL:
        return "ranks are uniform as far as these simulations tell: the guide is calibrated on the model's own data"
    if worst["site"] == TARP:
        return "draws of all units together are not where the truth is, though each unit may be: the guide is wrong"
    unit = f"{worst['site']}[{worst['unit']}]"
    bias = abs(worst["rank"] - 0.5) * np.sqrt(12 * simulations) / max(worst["spread"], 1e-6)
    width = abs(worst["spread"] - 1) * np.sqrt(5 * simulations)  # both in standard errors under uniform ranks
    if max(bias, width) < 2:
        return f"ranks of {unit} are not uniform: there the guide has the wrong shape"
    if bias > width:
        return f"ranks of {unit} lean to one side: there the guide is biased"
    if worst["spread"] > 1:
        return f"ranks of {unit} pile up at the ends: there the guide is too narrow"
    return f"ranks of {unit} pile up in the middle: there the guide is too wide"
