"""The whole evaluation of a pair on held-out data."""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.core.all_codes import all_codes
from ppl_vae.core.data import take_data
from ppl_vae.core.evidence import THRESHOLD, StreamingEvidence, no_evidence, only_bound
from ppl_vae.core.tiles import blocks, enumerated_copies, first_data, inference, plan
from ppl_vae.diagnostics.latents import ACTIVE, UnitMoments, variance_of_means
from ppl_vae.diagnostics.tile_graph import Measure, TileStatistics
from ppl_vae.display import Displayed, View, measured
from ppl_vae.errors import ArgumentError
from ppl_vae.files import folder
from ppl_vae.runs.files import jsonable, write_atomically
from ppl_vae.runs.tables import to_csv

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.core.pair import VAE
    from ppl_vae.core.terms import Terms


Columns = Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Evaluation(Displayed):
    """The findings of an evaluation; nats per datum.

    Attributes:
        by_datum: the columns of `table`, arrays of a value per datum, and `datum`, which labels them.
        by_unit: the columns of `units`.
        summary: plain numbers, see [`evaluate`][ppl_vae.diagnostics.evaluate.evaluate].
        how: what computed the tiles: the program, or a graph of it; with the reason where it could not be faster.
    """

    by_datum: Columns = field(repr=False)
    by_unit: Columns = field(repr=False)
    summary: dict[str, Any]
    how: str = "the program"

    @cached_property
    def table(self) -> "pd.DataFrame":
        """A row per datum: `elbo`, `nll`, `nll_se`, `kl`, `log_likelihood`, `ess`, `pareto_k`, and `label` if there."""
        import pandas as pd  # takes half a second, which a run that only needs the summary is spared

        return pd.DataFrame(dict(self.by_datum)).set_index("datum")

    @cached_property
    def units(self) -> "pd.DataFrame":
        """A row per latent unit: `site`, `unit`, `kl`, `variance` of the posterior mean, `active`.

        A series of sites (`z_0`, `z_1`, …) is one site: its KL is a sum over time, its variance over data and time.
        """
        import pandas as pd

        return pd.DataFrame(dict(self.by_unit))

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write `summary.json` (NaN is null), `table.csv` and `units.csv`, each whole or not at all."""
        directory = folder(directory)
        write_atomically(directory / "table.csv", to_csv(self.table))
        write_atomically(directory / "units.csv", to_csv(self.units, index=False))
        write_atomically(directory / "summary.json", json.dumps(jsonable(self.summary), indent=2) + "\n")
        return directory

    def __str__(self) -> str:
        return replace(self._view(), title="").text(whole=True)

    def _view(self) -> View:
        s = self.summary
        lines = [("data", f"{s['n']}"), ("particles", f"{s['num_particles']}")]
        if s["reason"]:
            lines += [("−log p(x)", "none: " + s["reason"])]
            lines += [(name, measured(s[key])) for name, key in (("ELBO", "elbo"), ("KL", "kl")) if s[key] == s[key]]
        else:
            lines += [
                ("−log p(x)", f"{measured(s['nll'], s['nll_se'])} (particles) ± {s['nll_se_data']:.2g} (data)"),
                ("ELBO", measured(s["elbo"], s["elbo_se"])),
                ("gap", measured(s["gap"])),
                ("KL", measured(s["kl"])),
                *((f"KL {name}", measured(v)) for name, v in s["kl_per_site"].items() if len(s["kl_per_site"]) > 1),
                *((f"KL {name}, all data", measured(v)) for name, v in s["kl_global"].items()),
            ]
        lines += [("−log p(x | z)", measured(s["reconstruction"]))]
        if s["num_units"]:
            lines += [("active units", f"{s['active_units']} of {s['num_units']}")]
        if not s["reason"] and not math.isnan(s["pareto_k"]):
            bad = f"{s['pareto_k_bad']:.1%} above {THRESHOLD}"
            lines += [("Pareto k̂", f"{bad}, mean {s['pareto_k']:.2f}, max {s['pareto_k_max']:.2f}")]
            lines += [("ESS", f"{s['ess']:.1f}")]
        return View("Evaluation (nats per datum)", rows=lines)


def evaluate(
    vae: "VAE",
    data: Any,
    num_particles: int = 1000,
    *,
    memory: int | str = "1GB",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    r"""Estimate evidence, ELBO, KL, k̂ and active units of a pair on data, all unweighted (β = 1).

    For each datum, with z₁ … z_K ~ q(z | x) and w_k = p(x, z_k) / q(z_k | x),

    $$\widehat{\log p}(x) = \log \frac1K \sum_k w_k, \qquad \mathrm{elbo}(x) = \frac1K \sum_k \log w_k.$$

    What is evaluated is the pair as it is declared: one draw from the guide's own distribution per particle, whatever
    the estimators do in training. Discrete sites c that the estimators enumerate are summed over exactly: the evidence
    takes w = Σ_c q(c) p(x, z, c) / q(z, c | x), the ELBO Σ_c q(c) (log p − log q). On these draws
    elbo = −reconstruction − kl, and the gap is not negative.

    The pair runs in evaluation mode, without gradients, in tiles of data and particles with a random stream
    each, so that memory stays bounded and equal seeds give equal numbers; the caller's random state, modes and
    gradients are untouched.

    With global latents w the evidence is predictive, log E_{q(w)} p(x | w): w is drawn anew for each particle and
    not charged again. k̂ and ESS are then conditional on one draw of w, the same for all data: they judge q(z | x, w).

    Args:
        vae: the pair.
        data: a `Split`, a tensor `(data, …)` or a tuple of them.
        num_particles: K per datum; papers take 5000.
        memory: upper limit of the working memory, bytes or such as `"512MB"`; no result depends on it.
        seed: of the particles.
        progress: called with the number of tiles done and of all tiles.

    Returns:
        Tables per datum and per unit, and a `summary`:

        - `nll`: mean of −log p̂(x). `nll_se`: its Monte-Carlo standard error, √(Σ seᵢ²)/n with seᵢ by the delta
          method: how much another seed would change it. `nll_se_data`: standard deviation of the data's nll
          over √n: how much another test set of this size would change it.
        - `elbo`, `elbo_se`; `gap` = −nll − elbo, what the guide loses; `reconstruction` = mean −log p(x | z).
        - `kl`: total over local sites; `kl_per_site`; `kl_per_unit` by site; `kl_global` by site (nats in all, not
          per datum).
        - `active_units` of `num_units`: those with Var(E[z | x]) > 0.01.
        - `pareto_k`: mean k̂ over data; `pareto_k_max`; `pareto_k_bad`: fraction of data above 0.7; `ess`: mean
          effective number of particles.
        - `num_particles`, `n`, `seed`; `reason`: why there is no evidence, else None. Of quantized codes the ELBO is
          there all the same, and the exact evidence, by the sum over all codes, where they are at most 4096.

    Raises:
        CheckError: if the pair has no data plate: then the batch is one joint observation.
        DataError: if there are no data, or for what `ppl_vae.core.data.take_data` refuses: values outside a support,
            or missing where nothing masks them.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519

    >>> import ppl_vae as pv, pyro, pyro.distributions as dist
    >>> def model(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    >>> def guide(x):                                    # the exact posterior
    ...     with pyro.plate("data", x.shape[0]):
    ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
    >>> evaluation = evaluate(pv.VAE(model, guide), torch.tensor([0.0, 1.0]), num_particles=100)
    >>> evaluation.table["nll"].round(4).tolist()        # ½ log 4π + x²/4
    [1.2655, 1.5155]
    """
    if num_particles < 1:
        raise ArgumentError(f"Got num_particles={num_particles}, expected at least 1.")
    split = take_data(vae, data)
    n = len(split)
    columns: dict[str, list[Tensor]] = {}
    means: dict[str, list[Tensor]] = {}
    variances: dict[str, list[Tensor]] = {}
    units: dict[str, list[Tensor]] = {}
    shared: dict[str, list[Tensor]] = {}
    errors: list[Tensor] = []
    first = first_data(vae, split)
    with inference(vae, first, sum_out=True) as draw:
        probe = draw(first)
        tiling = plan(vae, first, n, num_particles, memory, seed, copies=enumerated_copies(probe))
        tiling.seed_all(0, 0)
        held = {name: site.raw for name, site in draw(first).latents.items() if not site.is_local}
        reason = no_evidence(probe)
        bounded, codes = reason is not None and reason == only_bound(probe), None
        if reason and not bounded:
            num_particles = 1  # the code is a function of x: further particles are the same
        elif bounded and (codes := all_codes(probe)) is not None:
            reason, bounded, num_particles = None, False, min(num_particles, 2)
        done, tiles = 0, len(tiling.chunks(num_particles)) * math.ceil(n / tiling.data)
        measure = Measure(vae, draw, tiles)
        for block in blocks(vae, split, tiling):
            tile = _Tile(num_particles)
            for _, chunk in block.chunks(num_particles):
                if not held:
                    tile.update(measure(block.batch, chunk))
                else:
                    t = draw(block.batch, chunk)
                    tile.update(TileStatistics.of(t))
                    tile.joint.append((t.log_weights.double().cpu(), t.local_elbo.double().cpu()))
                    tile.judge(draw(block.batch, chunk, values=_repeated(held, t)))
                done += 1
                if progress is not None:
                    progress(done, tiles)
            for name, column in tile.columns(evidence=not reason, bound=bounded).items():
                columns.setdefault(name, []).append(column)
            if codes is not None:
                rows = tiling.data * tiling.particles
                exact = codes.log_evidence(draw, block.batch, block.at.stop - block.at.start, rows).cpu()
                columns["nll"][-1], columns["nll_se"][-1] = -exact, torch.zeros_like(exact)
                for name in ("ess", "pareto_k"):
                    columns[name][-1] = torch.full_like(exact, torch.nan)
            errors.append(tile.errors())
            for name, moments in tile.moments.items():
                means.setdefault(name, []).append(moments.mean.cpu())
                variances.setdefault(name, []).append(moments.variance.cpu())
            for name, kl in tile.unit_kl.items():
                units.setdefault(name, []).append((kl / num_particles).cpu())
            for name, value in tile.shared_kl.items():
                shared.setdefault(name, []).append((value / num_particles).cpu())
    by_datum = {name: torch.cat(parts).double().cpu().numpy() for name, parts in columns.items()}
    by_datum["datum"] = split.indices.cpu().numpy()
    if split.labels is not None and split.labels.dim() == 1:
        by_datum["label"] = split.labels.cpu().numpy()
    per_unit = _units(means, variances, units, num_particles, with_kl=not reason)
    settings: dict[str, Any] = {
        "num_particles": num_particles,
        "n": n,
        "seed": seed,
        "reason": reason,
    }
    shared_kl = {name: float(torch.stack(parts).mean()) for name, parts in shared.items()}
    nll_se, elbo_se = (torch.stack(errors).sum(0).sqrt() / n).tolist()
    settings |= {"kl_global": shared_kl, "nll_se": nll_se, "elbo_se": elbo_se}
    if bounded or codes is not None:
        settings["nll_se"] = math.nan if bounded else 0.0
    return Evaluation(by_datum, per_unit, _summarize(by_datum, per_unit, settings), measure.how or "the program")


def _repeated(values: Mapping[str, Tensor], t: "Terms") -> dict[str, Tensor]:
    """One draw of the global latents for all particles."""
    if t.strategy != "loop":
        return dict(values)
    return {name: value.expand(t.num_particles, *value.shape) for name, value in values.items()}


class _Tile:
    """Running sums over the particles of one block of data."""

    def __init__(self, num_particles: int) -> None:
        self.evidence = StreamingEvidence(num_particles)
        self.given_globals = StreamingEvidence(num_particles)
        self.joint: list[tuple[Tensor, Tensor]] = []
        self.log_likelihood: Tensor | float = 0.0
        self.kl: dict[str, Tensor] = {}
        self.unit_kl: dict[str, Tensor] = {}
        self.shared_kl: dict[str, Tensor] = {}
        self.moments: dict[str, UnitMoments] = {}

    def update(self, pieces: TileStatistics) -> None:
        self.evidence.update(pieces.log_weights, pieces.local_elbo)
        particles = len(pieces.log_weights)
        self.log_likelihood = self.log_likelihood + pieces.log_likelihood * particles
        for sums, means in (
            (self.kl, pieces.local_kl),
            (self.shared_kl, pieces.shared_kl),
            (self.unit_kl, pieces.unit_kl),
        ):
            for name, mean in means.items():
                sums[name] = sums[name] + mean * particles if name in sums else mean * particles
        for name, values in pieces.values.items():
            self.moments.setdefault(name, UnitMoments()).update(values)

    def judge(self, t: "Terms") -> None:
        """Take log-weights given one draw of the global latents."""
        self.given_globals.update(t.log_weights)

    def errors(self) -> Tensor:
        """Squared Monte-Carlo errors of the sums of nll and ELBO over this block.

        Data that share draws of global latents have dependent errors: then those of the sums are taken, particle by
        particle.
        """
        e, K = self.evidence.result(), self.evidence.num_particles
        if not self.joint:
            return torch.stack([e.log_evidence_se.square().sum(), e.elbo_se.square().sum()]).cpu()
        log_w, elbo = (torch.cat(parts) for parts in zip(*self.joint, strict=True))
        sums = torch.stack([(log_w - e.log_evidence.cpu()).exp().sum(1), elbo.sum(1)])
        return sums.var(1) / K if K > 1 else torch.full((2,), torch.nan, dtype=sums.dtype)

    def columns(self, evidence: bool, bound: bool = False) -> dict[str, Tensor]:
        """The columns of the table for this block of data; without an evidence there may be a bound all the same."""
        e, K = self.evidence.result(), self.evidence.num_particles
        judged = self.given_globals.result() if self.joint else e
        assert isinstance(self.log_likelihood, Tensor)
        nan = torch.full_like(e.elbo, torch.nan)
        result = {
            "elbo": e.elbo,
            "elbo_se": e.elbo_se,
            "nll": -e.log_evidence,
            "nll_se": e.log_evidence_se,
            "log_likelihood": self.log_likelihood / K,
            "kl": torch.stack(list(self.kl.values())).sum(0) / K if self.kl else torch.zeros_like(e.elbo),
            **({f"kl_{name}": kl / K for name, kl in self.kl.items()}),
            "ess": judged.ess,
            "pareto_k": judged.pareto_k,
        }
        of_evidence = {"nll", "nll_se", "ess", "pareto_k"} if bound else result.keys() - {"log_likelihood"}
        return result if evidence else {name: nan if name in of_evidence else c for name, c in result.items()}


def _units(
    means: Mapping[str, list[Tensor]],
    variances: Mapping[str, list[Tensor]],
    kl: Mapping[str, list[Tensor]],
    particles: int,
    with_kl: bool,
) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {"site": [], "unit": [], "kl": [], "variance": [], "active": []}
    for name, parts in means.items():
        mean, spread = torch.cat(parts), torch.cat(variances[name])
        if mean.dim() == 3:  # of a series: each step of each datum counts, where it is no padding
            is_step = ~mean[:, 0].isnan()
            mean, spread = (moment.movedim(1, -1)[is_step] for moment in (mean, spread))
        variance = variance_of_means(mean, spread, particles)
        known = torch.cat(kl[name]).mean(0) if name in kl and with_kl else torch.full((1,), torch.nan)
        known = known if len(known) == len(variance) else known.new_full(variance.shape, torch.nan)
        found["site"] += [name] * len(variance)
        found["unit"] += range(len(variance))
        found["kl"] += known.tolist()
        found["variance"] += variance.tolist()
        found["active"] += (variance > ACTIVE).tolist()
    return found


def _summarize(table: Columns, units: Columns, settings: Mapping[str, Any]) -> dict[str, Any]:
    k, every_nll = table["pareto_k"], _known(table["nll"])
    nll, elbo = _mean(table["nll"]), _mean(table["elbo"])
    finite, known = k[np.isfinite(k)], _known(k)
    per_unit: dict[str, list[float]] = {}
    for site, kl in zip(units["site"], units["kl"], strict=True):
        per_unit.setdefault(site, []).append(kl)
    return {
        "nll": nll,
        "nll_se": settings["nll_se"],
        "nll_se_data": float(every_nll.std(ddof=1)) / math.sqrt(len(k)) if len(every_nll) > 1 else math.nan,
        "elbo": elbo,
        "elbo_se": settings["elbo_se"],
        "gap": -nll - elbo,
        "reconstruction": -_mean(table["log_likelihood"]),
        "kl": _mean(table["kl"]),
        "kl_per_site": {name.removeprefix("kl_"): _mean(table[name]) for name in table if name.startswith("kl_")},
        "kl_per_unit": {site: kl for site, kl in per_unit.items() if not any(map(math.isnan, kl))},
        "active_units": sum(units["active"]),
        "num_units": len(units["unit"]),
        # k̂ is infinite where a datum's weights underflow: such data count as bad, and have no place in a mean.
        "pareto_k": _mean(finite if len(finite) else k),
        "pareto_k_max": float(known.max()) if len(known) else math.nan,
        "pareto_k_bad": float((k > THRESHOLD).mean()) if len(known) else math.nan,
        "ess": _mean(table["ess"]),
        **settings,
    }


def _known(column: Any) -> Any:
    return column[~np.isnan(column)]


def _mean(column: Any) -> float:
    """The mean of what is known of a column; NaN where nothing is."""
    known = _known(column)
    return float(known.mean()) if len(known) else math.nan
