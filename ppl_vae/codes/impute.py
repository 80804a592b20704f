"""Missing values, filled in by what the pair says of them given the others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.codes.reconstruct import given_back
from ppl_vae.core.data import take_data
from ppl_vae.core.evidence import THRESHOLD, no_evidence, pareto_k, smooth
from ppl_vae.core.generate import only
from ppl_vae.core.predict import as_point
from ppl_vae.core.tiles import Block, blocks, first_data, inference, plan
from ppl_vae.display import Displayed, View
from ppl_vae.doors import checked
from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.rng import derive

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.core.terms import Terms


@dataclass(frozen=True, repr=False)
class Imputation(Displayed):
    """Data without missing values.

    Attributes:
        x: `(data, *shape)`, missing values in the place of which their mean given the others stands, of codes in a
            table of mixed columns the most probable one; by site where the model observes several.
        draws: `(draws, data, *shape)`, drawn given the others in place of the mean (multiple imputation); None where
            none were asked for.
        is_missing: true for what was missing, as `x`.
        pareto_k: of each datum's weights, `(data,)`: above 0.7 its figures should not be trusted.
    """

    x: Any
    draws: Any
    is_missing: Any
    pareto_k: Tensor

    def _view(self) -> View:
        masks = self.is_missing if isinstance(self.is_missing, dict) else {"x": self.is_missing}
        drawn = self.draws[next(iter(self.draws))] if isinstance(self.draws, dict) else self.draws
        completed = "" if drawn is None else f", {len(drawn)} completed data sets"
        bad = float((self.pareto_k > THRESHOLD).double().mean())
        return View(
            f"Imputation({len(self.pareto_k)} data{completed}; k̂ above {THRESHOLD} for {bad:.0%} of them)",
            ("site", "shape", "missing", "of"),
            [(name, str(tuple(m.shape)), int(m.sum()), m.numel()) for name, m in masks.items()],
        )


@checked
def impute(
    vae: "VAE",
    data: Any,
    *,
    num_particles: int = 1000,
    draws: int = 0,
    memory: int | str = "1GB",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Imputation:
    r"""Fill in what the model masks of its data: x_m, given the rest x_o of the same datum.

    $$\mathbb E[x_m \mid x_o] \approx \sum_k \bar w_k\, \mathbb E[x_m \mid z_k], \qquad
    z_k \sim q(z \mid x), \qquad w_k = \frac{p(x_o, z_k)}{q(z_k \mid x)}$$

    with weights that are Pareto-smoothed and normalized per datum: the guide only proposes, so that the result is that
    of p(x_m | x_o), as far as k̂ says that it may be trusted. Draws take each z_k by its weight, then
    x_m ~ p(x_m | z_k), with the known values of the datum held; a z_k that is taken twice gives its x_m twice.

    What is missing is what the programs mask (NaN in the data, as a rule); data of which nothing is come back as they
    are. Known values are taken to depend on missing
    ones through the latents alone.

    Args:
        vae: the pair; its programs mask missing values.
        data: a `Split`, a tensor `(data, …)` or a tuple of them.
        num_particles: K.
        draws: how many completed data sets to draw.
        memory: upper limit of the working memory, beside what is given back.
        seed: of the draws; the caller's random state is untouched.
        progress: called with the number of data done and of all data.

    Raises:
        CheckError: if the pair masks no missing values, has no data plate, no density, latents that all data share, or
            latents that only the model has.
        DataError: for data that `ppl_vae.core.data` refuses, missing values that nothing masks among them.

    References:
        Mattei and Frellsen (2019), MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets,
            https://arxiv.org/abs/1812.02633
        Vehtari et al. (2024), Pareto Smoothed Importance Sampling, https://arxiv.org/abs/1507.02646

    >>> import torch, ppl_vae as pv, pyro, pyro.distributions as dist
    >>> def model(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         likelihood = dist.Normal(z[:, None], 0.5).expand(x.shape).mask(~x.isnan())
    ...         pyro.sample("x", likelihood.to_event(1), obs=x)
    >>> def guide(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         pyro.sample("z", dist.Normal(0.8 * x.nan_to_num().sum(1), 0.5))
    >>> impute(pv.VAE(model, guide), torch.tensor([[1.0, float("nan")]])).x.round(decimals=1)
    tensor([[1.0000, 0.8000]])
    """
    if num_particles < 1 or draws < 0:
        raise ArgumentError(f"Got num_particles={num_particles}, draws={draws}, expected at least 1, and 0 or more.")
    split = take_data(vae, data)
    first = first_data(vae, split)
    parts: list[_Filled] = []
    with inference(vae, first) as draw:
        probe = draw(first)
        if reason := no_evidence(probe):
            raise CheckError(f"The pair says nothing of missing values: {reason}.")
        if probe.has_global_latents:
            raise CheckError(
                "Missing values are filled in datum by datum, with weights of their own, but the pair has latents that "
                "all data share. Use the predictive draws of pv.posterior."
            )
        if summed := sorted(name for name, site in probe.contracted.items() if not site.is_observed):
            raise CheckError(
                f"Missing values are drawn given the latents, but {', '.join(map(repr, summed))} of the model are "
                "summed out, and drawn by nobody; expected every latent in the guide."
            )
        tiling = plan(vae, first, len(split), num_particles, memory, seed)
        for block in blocks(vae, split, tiling, progress):
            parts.append(_fill(vae, draw, block, num_particles, draws))
    missing = {name: torch.cat([part.is_missing[name] for part in parts]) for name in parts[0].is_missing}
    if not any(bool(m.any()) for m in missing.values()):
        _refuse_unmasked(vae, split)
    return Imputation(
        only({name: torch.cat([part.x[name] for part in parts]) for name in missing}),
        only({name: torch.cat([part.draws[name] for part in parts], 1) for name in missing}) if draws else None,
        only(missing),
        torch.cat([part.pareto_k for part in parts]),
    )


def _refuse_unmasked(vae: "VAE", split: Any) -> None:
    """Refuse a pair that would not mask a value that is missing: nothing of its data ever is.

    Raises:
        CheckError: with what the pair does on data of which one value is missing.
    """
    from ppl_vae.core.screen import fault

    x, *others = split[: min(2, len(split))].batch()
    why = "whole numbers have no NaN."
    if x.is_floating_point() and x.numel():
        x = x.clone()
        x[(0,) * x.dim()] = torch.nan
        found = fault(vae, (x, *others))
        if found is None:
            return
        why = str(found)
    raise CheckError(
        f"Nothing is missing in these data, expected NaN for missing ones, and a pair that masks them. With one: {why}"
    )


@dataclass(frozen=True)
class _Filled:
    """The data of one block."""

    x: dict[str, Tensor]
    draws: dict[str, Tensor]
    is_missing: dict[str, Tensor]
    pareto_k: Tensor


def _fill(vae: "VAE", draw: Callable[..., "Terms"], block: Block, num_particles: int, draws: int) -> _Filled:
    """Weights first, of all particles; then the same particles again, each with its weight."""
    log_w = np.concatenate([_on_cpu(draw(block.batch, chunk).log_weights) for _, chunk in block.chunks(num_particles)])
    weights = np.exp(smooth(log_w))
    chosen = _chosen(weights, draws, derive(block.tiling.seed, block.at.start))
    seen: dict[str, Tensor] = {}
    means: dict[str, Tensor] = {}
    drawn: dict[str, Tensor] = {}
    start = 0
    for _, chunk in block.chunks(num_particles):
        t = draw(block.batch, chunk)
        held = {name: site.raw_shown() for name, site in t.observed.items() if site.raw_shown is not None}
        if not seen:
            seen = {name: site.seen[0].cpu() for name, site in t.observed.items() if site.is_local}
        own = torch.from_numpy(weights[start : start + chunk])
        for name, value in given_back(vae, block.batch, t, held, mean=True).items():
            if name in seen:
                value = value.double().cpu()
                part = (own.reshape(own.shape + (1,) * (value.dim() - 2)) * value).sum(0)
                means[name] = means[name] + part if name in means else part
        if draws:
            for name, value in given_back(vae, block.batch, t, held, mean=False).items():
                if name in seen:
                    into = drawn.setdefault(name, seen[name].expand(draws, *seen[name].shape).clone())
                    _take(into, value.cpu(), chosen - start)
        start += chunk
    means = {name: as_point(t.observed[name].fn, average) for name, average in means.items()}
    missing = {name: value.isnan() & ~means[name].isnan() for name, value in seen.items()}  # not what is no data
    return _Filled(
        {name: torch.where(m, means[name].to(seen[name]), seen[name]) for name, m in missing.items()},
        {name: torch.where(missing[name], value, seen[name]) for name, value in drawn.items()},
        missing,
        torch.from_numpy(pareto_k(log_w)),
    )


def _on_cpu(x: Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = x.double().cpu().numpy()
    return found


def _chosen(weights: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.int64]:
    """The particle of each draw of each datum, `(draws, data)`, by its weight."""
    points = np.random.default_rng(seed).uniform(size=(draws, weights.shape[1]))
    cumulative = weights.cumsum(0)
    found = [np.searchsorted(c, p * c[-1]).clip(max=len(c) - 1) for c, p in zip(cumulative.T, points.T, strict=True)]
    return np.stack(found, axis=1).astype(np.int64)


def _take(drawn: Tensor, values: Tensor, chosen: NDArray[np.int64]) -> None:
    """Put those particles that were chosen among `values` into the draws."""
    row, datum = np.nonzero((chosen >= 0) & (chosen < len(values)))
    drawn[row, datum] = values[chosen[row, datum], datum].to(drawn)
