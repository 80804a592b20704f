"""Gradients, measured: bias, variance, signal and cost of each estimator, per site and group of parameters."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
import torch
from torch import Tensor, nn

from ppl_vae.core.data import take_batch
from ppl_vae.core.pair import VAE
from ppl_vae.core.particles import Runner
from ppl_vae.core.plates import unchanged
from ppl_vae.core.run import prepare
from ppl_vae.display import Displayed, View
from ppl_vae.distributions.unwrap import is_detached
from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.estimators import DecayingAverage, Enumerate, LeaveOneOut, Pathwise, ScoreFunction, StickingTheLanding
from ppl_vae.estimators.implicit import has_implicit
from ppl_vae.estimators.reparameterize import is_finite

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.objectives import Bound

DIRECTIONS = 16
"""Random directions in which the bias is tested."""


@dataclass(frozen=True, repr=False)
class GradientReport(Displayed):
    """The measurements of `gradients`.

    Attributes:
        table: A row per site, group of parameters and estimator; columns `variance` (over all parameters of the group),
            `variance_ratio` (to the least), `snr` (‖E g‖ / √variance), `bias` and `bias_se` (relative to ‖E g‖),
            `bias_z` (the largest of 16 standardized differences), `seconds` per gradient, `cost` (variance × seconds).
        reference: The estimator that the bias was measured against.
        samples: Gradients per estimator.
        recommendation: A sentence.
    """

    table: "pd.DataFrame"
    reference: str
    samples: int
    recommendation: str

    def _view(self) -> View:
        return View(
            f"GradientReport({self.samples} gradients each; bias against {self.reference!r})",
            [str(c) for c in self.table.columns],
            [[f"{v:.3g}" if isinstance(v, float) else v for v in row] for row in self.table.itertuples(index=False)],
            [self.recommendation],
        )


def gradients(
    vae: VAE,
    batch: Any,
    *,
    estimators: Mapping[str, Any] | None = None,
    objective: nn.Module | None = None,
    samples: int = 500,
    reference: str | None = None,
    seed: int = 0,
) -> GradientReport:
    r"""Compare gradient estimators on one batch: bias, variance, signal-to-noise ratio, and cost.

    With independent gradients g of an estimator at fixed parameters,

    $$\mathrm{variance} = \mathrm{tr}\,\mathrm{Cov}(g), \qquad \mathrm{snr} = \|\mathbb{E} g\| /
    \sqrt{\mathrm{variance}},$$

    and variance × seconds is what an unbiased estimator pays for a given accuracy. The bias is the difference of means
    to the reference estimator, tested along 16 random directions: for an unbiased one the largest standardized
    difference `bias_z` exceeds 4 about once in a thousand times.

    Args:
        vae: The pair; its parameters, buffers and generators are left as they were.
        batch: What its programs take.
        estimators: From a label to an estimator for all latent sites, or to a mapping from site to estimator. By
            default those that are legal at every site: the score function, with a baseline, pathwise, sticking the
            landing, enumeration.
        objective: An objective; the ELBO with one particle by default.
        samples: Gradients per estimator.
        reference: The label of an unbiased estimator to measure bias against; by default the last unbiased one.
        seed: For the draws.

    Example:
        >>> import ppl_vae as pv, pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", x.shape[0]):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     loc = pyro.param("loc", torch.tensor(0.0))
        ...     with pyro.plate("data", x.shape[0]):
        ...         pyro.sample("z", dist.Normal(loc, 0.5**0.5))
        >>> report = gradients(VAE(model, guide), torch.zeros(4), samples=50)
        >>> sorted(report.table.estimator)
        ['pathwise', 'score function', 'score function, average', 'sticking the landing']
    """
    if samples < 10:
        raise ArgumentError(f"Got samples={samples}, expected at least 10: a variance needs some.")
    batch = take_batch(vae, batch, look=True)
    from ppl_vae.objectives import ELBO, as_objective

    if objective is None:
        objective = ELBO()
    objective = as_objective(objective)
    prepare(vae, batch, int(getattr(objective, "num_particles", 1)))
    candidates = dict(estimators) if estimators is not None else legal_candidates(vae, batch, objective)
    groups = parameter_groups(vae, batch)
    with unchanged(vae):
        torch.manual_seed(seed)
        measured = {label: _measure(vae, batch, objective, e, groups, samples, seed) for label, e in candidates.items()}
    if reference is None:
        unbiased = [label for label, e in candidates.items() if _is_unbiased(e)]
        reference = (unbiased or list(measured))[-1]
    if reference not in measured:
        raise CheckError(f"reference={reference!r} is none of the estimators: {', '.join(map(repr, measured))}.")
    table = _table(measured, groups, reference)
    return GradientReport(table, reference, samples, _recommend(table))


def legal_candidates(vae: VAE, batch: tuple[Any, ...], objective: Any) -> dict[str, Any]:
    """The estimators that every latent site and the objective admit, from the noisiest to the quietest."""
    guide = Runner(vae, batch, prepare(vae, batch, mode="draw")).guide()[1]
    fns = [site.fn for site in guide.values() if not site.is_observed]
    several = getattr(objective, "num_particles", 1) > 1
    baseline = ("leave-one-out", LeaveOneOut) if several else ("average", DecayingAverage)
    candidates: dict[str, Any] = {
        "score function": ScoreFunction(None),
        f"score function, {baseline[0]}": ScoreFunction(baseline[1]()),
    }
    if all(not is_detached(fn) and (getattr(fn, "has_rsample", False) or has_implicit(fn)) for fn in fns):
        candidates["pathwise"] = Pathwise()
        candidates["sticking the landing"] = StickingTheLanding()
    if all(is_finite(fn) for fn in fns):
        candidates["enumerate"] = Enumerate()
    legal = getattr(objective, "legal", None)
    named = {label: e for label, e in candidates.items() if legal is None or type(e) in legal}
    if getattr(objective, "kl", "") == "analytic":
        named.pop("sticking the landing", None)
    return named


def parameter_groups(vae: VAE, batch: tuple[Any, ...]) -> dict[tuple[str, str], list[str]]:
    """The names of the parameters that each site's distribution depends on directly, by site and program.

    A parameter that several sites depend on (a shared encoder) is in the group of each.
    """
    runner = Runner(vae, batch, prepare(vae, batch))
    names = {name: p for name, p in vae.named_parameters() if p.requires_grad}
    found: dict[tuple[str, str], list[str]] = {}
    with unchanged(vae), pyro.validation_enabled(False):
        traces, guide = runner.guide()
        values = {n: s.raw.detach() for n, s in guide.items() if not s.is_observed and s.enum_dim is None}
        traces, guide = runner.guide(values=values)
        for program, sites in (("guide", guide), ("model", runner.model(traces)[0])):
            for site in sites.values():
                total = site.log_prob.sum()
                if site.is_deterministic or not total.requires_grad:
                    continue
                grads = torch.autograd.grad(total, list(names.values()), retain_graph=True, allow_unused=True)
                members = [n for n, g in zip(names, grads, strict=True) if g is not None]
                if members:
                    found[site.name, program] = members
    if not found:
        raise CheckError("No parameter of the pair takes a gradient from any site: there is nothing to compare.")
    return found


def with_estimators(vae: VAE, estimators: Any) -> VAE:
    """A pair of the same programs and parameters whose sites have other estimators; those not named keep theirs."""
    named = dict(estimators) if isinstance(estimators, Mapping) else {"*": estimators}
    known = vae.estimators if "*" not in named else {}
    return vae.sharing({**known, **named})


@dataclass
class _Moments:
    """Streaming mean and summed squared deviations of flat gradients, and projections of each group's part.

    `index` holds, for each group, where its parameters lie in a flat gradient.
    """

    count: int
    mean: Tensor
    squares: Tensor
    projected: list[Tensor]
    seconds: list[float]
    index: list[Tensor]

    @property
    def variance(self) -> Tensor:
        return self.squares / (self.count - 1)


def _measure(
    vae: VAE,
    batch: tuple[Any, ...],
    objective: nn.Module,
    estimators: Any,
    groups: Mapping[tuple[str, str], list[str]],
    samples: int,
    seed: int,
) -> _Moments:
    parameters = dict(vae.named_parameters())
    names = sorted({name for members in groups.values() for name in members})
    wanted = [parameters[name] for name in names]
    at = dict(zip(names, torch.arange(sum(p.numel() for p in wanted)).split([p.numel() for p in wanted]), strict=True))
    index = [torch.cat([at[name] for name in members]) for members in groups.values()]
    size = sum(p.numel() for p in wanted)
    directions = torch.from_numpy(np.random.default_rng(seed).standard_normal((DIRECTIONS, size)))
    zeros = torch.zeros(size, dtype=torch.float64)
    moments = _Moments(0, zeros, zeros.clone(), [], [], index)
    burn_in = max(20, samples // 10)  # for baselines that learn
    other = with_estimators(vae, estimators)
    with pyro.validation_enabled(False):
        for step in range(burn_in + samples):
            start = time.perf_counter()
            bound: Bound = objective(other, batch)
            grads = torch.autograd.grad(bound.surrogate, wanted, allow_unused=True)
            elapsed = time.perf_counter() - start
            if step < burn_in:
                continue
            flat = torch.cat(
                [(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in zip(grads, wanted, strict=True)]
            ).to("cpu", torch.float64)
            moments.count += 1
            delta = flat - moments.mean
            moments.mean += delta / moments.count
            moments.squares += delta * (flat - moments.mean)
            moments.projected.append(torch.stack([directions[:, i] @ flat[i] for i in index]))
            moments.seconds.append(elapsed)
    return moments


def _is_unbiased(estimator: Any) -> bool:
    """True if an estimator is unbiased for the ELBO (relaxations are not)."""
    from ppl_vae.estimators import Concrete

    members = estimator.values() if isinstance(estimator, Mapping) else [estimator]
    return not any(isinstance(e, Concrete) for e in members)


def _table(
    measured: Mapping[str, _Moments], groups: Mapping[tuple[str, str], list[str]], reference: str
) -> "pd.DataFrame":
    truth = measured[reference]
    rows = []
    for group, ((site, program), index) in enumerate(zip(groups, truth.index, strict=True)):
        for label, m in measured.items():
            variance = float(m.variance[index].sum())
            noise = variance / m.count
            signal = max(float(m.mean[index].square().sum()) - noise, 0.0) ** 0.5
            truth_noise = float(truth.variance[index].sum()) / truth.count
            expected = max(float(truth.mean[index].square().sum()) - truth_noise, 0.0) ** 0.5
            gap = m.mean[index] - truth.mean[index]
            error = noise + truth_noise
            bias = max(float(gap.square().sum()) - error, 0.0) ** 0.5 if label != reference else 0.0
            rows.append(
                {
                    "site": site,
                    "group": program,
                    "estimator": label,
                    "variance": variance,
                    "snr": signal / variance**0.5 if variance > 0 else float("inf"),
                    "bias": bias / expected if expected > 0 else float("nan"),
                    "bias_se": error**0.5 / expected if expected > 0 and label != reference else 0.0,
                    "bias_z": _z(m, truth, group) if label != reference else 0.0,
                    "seconds": float(np.median(m.seconds)),
                }
            )
    import pandas as pd

    table = pd.DataFrame(rows)
    least = table.groupby(["site", "group"]).variance.transform("min")
    table.insert(4, "variance_ratio", table.variance / least.where(least > 0))
    table["cost"] = table.variance * table.seconds
    return table


def _z(m: _Moments, truth: _Moments, group: int) -> float:
    """The largest standardized difference of means along the random directions."""
    a, b = torch.stack(m.projected)[:, group], torch.stack(truth.projected)[:, group]
    error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
    gap = (a.mean(0) - b.mean(0)).abs()
    return float((gap / error.clamp_min(1e-300)).where(gap > 0, torch.zeros_like(gap)).max())


def _recommend(table: "pd.DataFrame") -> str:
    """The estimator of least variance × seconds among those without a significant bias."""
    fair = table[table.bias_z < 4]
    total = fair.groupby("estimator", sort=False)[["variance", "cost"]].sum()
    if total.empty:
        return "Every estimator differs from the reference by more than chance."
    best = str(total.cost.idxmin())
    worst = str(total.variance.idxmax())
    text = f"Use {best!r}: the least variance × time"
    if worst != best and total.variance[best] > 0:
        text += f", with {total.variance[worst] / total.variance[best]:.3g} times less variance than {worst!r}"
    return text + "."
