"""Simulation-based calibration of an amortized guide: thousands of simulated data, no refit."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.diagnostics.evaluation import plain
from ppl_vae.diagnostics.ranks import central_coverage, uniformity_p
from ppl_vae.diagnostics.simulate import simulate, template
from ppl_vae.diagnostics.tarp import TARP, Tarp
from ppl_vae.diagnostics.tiles import as_pair_takes, inference, plan
from ppl_vae.errors import CheckError
from ppl_vae.terms import terms
from ppl_vae.training.atomic import write_atomically

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.vae import VAE

Array = NDArray[np.float64]

LEVELS = np.linspace(0.05, 0.95, 19)


@dataclass(frozen=True)
class Calibration:
    """What simulation-based calibration found.

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

        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        arrays: dict[str, Any] = dict(self.ranks)
        np.savez_compressed(buffer, **arrays)
        write_atomically(directory / "ranks.npz", buffer.getvalue())
        write_atomically(directory / "units.csv", self.table.to_csv(index=False))
        write_atomically(directory / "summary.json", json.dumps(plain(self.summary), indent=2) + "\n")
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

    Reference:
        Talts, Betancourt, Simpson, Vehtari, Gelman (2018), Validating Bayesian inference algorithms with
        simulation-based calibration, https://arxiv.org/abs/1804.06788
        Säilynoja, Bürkner, Vehtari (2022), Graphical test for discrete uniformity, Statistics and Computing 32.
        Lemos, Coogan, Hezaveh, Perreault-Levasseur (2023), Sampling-based accuracy testing of posterior estimators for
        general inference, ICML.

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
        raise ValueError(f"Got simulations={simulations}, draws={draws}, expected at least 2 and 1.")
    batch = as_pair_takes(template(vae, like), vae)
    ranks: dict[str, list[Array]] = {}
    with inference(vae, batch):
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
                t = terms(vae, simulated, chunk)
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
    if p_value > 0.05:
        return "ranks are uniform as far as these simulations tell: the guide is calibrated on the model's own data"
    if worst["site"] == TARP:
        return "draws of all units together are not where the truth is, though each unit may be: the guide is wrong"
    unit = f"{worst['site']}[{worst['unit']}]"
    errors = abs(worst["rank"] - 0.5) * np.sqrt(12 * simulations) / max(worst["spread"], 1e-6)
    if errors > 5:
        return f"ranks of {unit} lean to one side: the guide is biased"
    if worst["spread"] > 1.02:
        return f"ranks of {unit} pile up at the ends: the guide is too narrow"
    if worst["spread"] < 0.98:
        return f"ranks of {unit} pile up in the middle: the guide is too wide"
    return f"ranks of {unit} are not uniform: the guide has the wrong shape"
