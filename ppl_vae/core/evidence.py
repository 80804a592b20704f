"""Importance-sampling estimates of the evidence in bounded memory, and k̂, which says whether to trust them."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ppl_vae.display import Displayed, View, number
from ppl_vae.errors import ArgumentError
from ppl_vae.kinds import numbers

if TYPE_CHECKING:
    from ppl_vae.core.terms import Terms


Array = NDArray[np.float64]

THRESHOLD: Final = 0.7
"""Above this k̂ an importance-sampling estimate, and the guide it comes from, should not be trusted."""

_FLAT: Final = 1e-3  # nats; weights that differ by less than 0.1% have no tail to speak of


def tail_length(particles: int) -> int:
    """Count the largest weights that make the tail: min(S/5, 3√S), rounded up.

    >>> tail_length(5000)
    213
    """
    return int(np.ceil(min(particles / 5, 3 * np.sqrt(particles))))


def pareto_k(log_weights: ArrayLike) -> Array:
    """Estimate the tail shape k̂ of importance weights by PSIS, per datum.

    A generalized Pareto distribution is fitted to the excess of the M = min(S/5, 3√S) largest of the S
    weights over the next one. Weights have finite moments up to order 1/k: k̂ < 0.5 is good, k̂ > 0.7 says
    that the guide misses mass of the posterior (or S is too small to tell).

    Args:
        log_weights: log p(x, z) − log q(z | x), of shape `(particles, data)`, nats. Any constant may be
            added per datum.

    Returns:
        k̂ of shape `(data,)`. Where all tail weights agree within 0.1% it is 0: the guide is exact. Where
        there are fewer than 5 tail weights (25 particles) or any weight is NaN or +∞, it is NaN.

    References:
        Vehtari et al. (2024), Pareto Smoothed Importance Sampling, https://arxiv.org/abs/1507.02646
        Yao, Vehtari, Simpson and Gelman (2018), Yes, but Did It Work?: Evaluating Variational Inference,
            https://arxiv.org/abs/1802.02538

    >>> rng = np.random.default_rng(0)
    >>> heavy = np.log1p(rng.pareto(1 / 0.9, size=(20_000, 1)))   # a Pareto tail of shape 0.9
    >>> bool(0.8 < pareto_k(heavy)[0] < 1.0)
    True
    """
    log_weights = np.atleast_2d(numbers(log_weights, "log_weights"))
    if log_weights.ndim != 2:
        raise ArgumentError(f"Got log_weights of shape {log_weights.shape}, expected (particles, data).")
    size = tail_length(log_weights.shape[0])
    if log_weights.shape[0] <= size:
        return np.full(log_weights.shape[1], np.nan)
    return pareto_k_from_tail(np.partition(log_weights, -size - 1, axis=0)[-size - 1 :])


def pareto_k_from_tail(tail: ArrayLike) -> Array:
    """Estimate k̂ from the M + 1 largest log-weights alone, `(tail + 1, data)` in any order.

    This is all that `pareto_k` looks at, and all that a streaming evaluation has to keep.
    """
    tail = np.sort(np.asarray(tail, dtype=np.float64), axis=0)
    shape = np.full(tail.shape[1], np.nan)
    if tail.shape[0] < 6:
        return shape
    with np.errstate(invalid="ignore"):
        spread = tail[-1] - tail[1]  # NaN where −∞ − −∞
        finite = np.isfinite(tail[-1])
    shape[finite & (spread < _FLAT)] = 0.0
    for column in np.flatnonzero(finite & ~(spread < _FLAT)):
        log_w = tail[:, column] - tail[-1, column]
        floor = max(log_w[0], np.log(np.finfo(np.float64).tiny))
        log_w = log_w[1:]
        excess = np.exp(log_w[log_w > floor]) - np.exp(floor)
        # Fewer than five weights above underflow: one datum's estimate hangs on a handful of draws.
        shape[column] = fit_generalized_pareto(excess)[0] if len(excess) > 4 else np.inf
    return shape


def smooth(log_weights: ArrayLike) -> Array:
    """Pareto-smooth importance weights: the largest M become expected order statistics of the fitted tail.

    Args:
        log_weights: log p(x, z) − log q(z | x), `(particles, data)`, nats.

    Returns:
        Logarithms of the smoothed weights, normalized to sum to one per datum, `(particles, data)`.

    References:
        Vehtari et al. (2024), Pareto Smoothed Importance Sampling, https://arxiv.org/abs/1507.02646

    >>> float(np.exp(smooth(np.zeros((100, 1)))).sum().round(6))
    1.0
    """
    log_w = np.array(log_weights, dtype=np.float64)
    log_w -= log_w.max(0)
    size = tail_length(len(log_w))
    for column in range(log_w.shape[1] if size >= 5 and len(log_w) > size else 0):
        order = np.argsort(log_w[:, column], kind="stable")
        tail, cut = order[-size:], log_w[order[-size - 1], column]
        cut = max(cut, np.log(np.finfo(np.float64).tiny))
        above = tail[log_w[tail, column] > cut]
        if len(above) < 5 or log_w[tail[-1], column] - log_w[tail[0], column] < _FLAT:
            continue
        k, sigma = fit_generalized_pareto(np.exp(log_w[above, column]) - np.exp(cut))
        p = (np.arange(len(above)) + 0.5) / len(above)
        excess = -sigma * np.log1p(-p) if abs(k) < 1e-8 else sigma * np.expm1(-k * np.log1p(-p)) / k
        log_w[above, column] = np.minimum(np.log(excess + np.exp(cut)), 0.0)
    return np.asarray(log_w - np.logaddexp.reduce(log_w, axis=0))


def fit_generalized_pareto(excess: ArrayLike) -> tuple[float, float]:
    """Fit a generalized Pareto distribution to exceedances, by the posterior mean of its profile likelihood.

    p(x | k, σ) = (1/σ) (1 + k x/σ)^(−1/k − 1). The shape is shrunk towards 0.5 with the weight of ten
    observations, as PSIS prescribes.

    Args:
        excess: positive numbers, at least 5, in any order.

    Returns:
        k̂ and σ̂.

    References:
        Zhang and Stephens (2009), A New and Efficient Estimation Method for the Generalized Pareto Distribution,
            https://doi.org/10.1198/tech.2009.08017
    """
    x = np.sort(np.asarray(excess, dtype=np.float64))
    n = len(x)
    grid = 30 + int(np.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    b = 1 / x[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quartile)
    k = np.log1p(-b[:, None] * x).mean(axis=1)
    profile = n * (np.log(-b / k) - k - 1)
    weight = np.exp(profile - profile.max())
    weight /= weight.sum()
    b_mean = float(b @ weight)
    k_mean = float(np.log1p(-b_mean * x).mean())
    return (n * k_mean + 10 * 0.5) / (n + 10), -k_mean / b_mean


@dataclass(frozen=True, repr=False)
class Evidence(Displayed):
    """Estimates per datum; every tensor is `(data,)`, in nats where it has a unit.

    Attributes:
        elbo: mean of log p − log q, in expectation over enumerated sites.
        elbo_se: its standard error over particles.
        log_evidence: log of the mean weight; biased downward by about `log_evidence_se`² / 2.
        log_evidence_se: its standard error over particles, by the delta method.
        ess: effective number of particles, (Σ w)² / Σ w², between 1 and K.
        pareto_k: tail shape of the weights; above 0.7 neither estimate nor guide should be trusted.
        num_particles: K.
    """

    elbo: Tensor
    elbo_se: Tensor
    log_evidence: Tensor
    log_evidence_se: Tensor
    ess: Tensor
    pareto_k: Tensor
    num_particles: int

    def _view(self) -> View:
        told = ("elbo", "log_evidence", "log_evidence_se", "ess", "pareto_k")
        rows = [(name, *(number(float(v)) for v in _spread(getattr(self, name)))) for name in told]
        title = f"Evidence({len(self.elbo)} data, {self.num_particles} particles each)"
        return View(title, ("nats", "least", "mean", "most"), rows)


def _spread(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (values.min(), values.mean(), values.max()) if len(values) else (values.mean(),) * 3


class StreamingEvidence:
    r"""Collect log-weights in chunks of particles and estimate log p(x) = log E_q[w], w = p(x, z) / q(z | x).

    With S₁ = Σ w and S₂ = Σ w² over K particles, both kept as logarithms,

        log p̂ = log(S₁ / K),   ESS = S₁² / S₂,   se(log p̂)² = (1/ESS − 1/K) · K/(K − 1),

    the last by the delta method: se(log p̂) = se(p̂) / p̂. How the particles are cut into chunks does not
    matter beyond rounding; of the weights, a few times the M + 1 largest are remembered, for k̂.

    Args:
        num_particles: K, the number of particles to come.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519

    >>> stream = StreamingEvidence(num_particles=4)
    >>> stream.update(torch.tensor([[0.0], [1.0]]).log())      # a chunk: (particles, data)
    >>> stream.update(torch.tensor([[2.0], [1.0]]).log())
    >>> round(float(stream.result().log_evidence.exp()), 6)
    1.0
    """

    def __init__(self, num_particles: int) -> None:
        self.num_particles = num_particles
        self._seen = 0
        self._keep = tail_length(num_particles) + 1

    def update(self, log_weights: Tensor, elbo: Tensor | None = None) -> None:
        """Take a chunk of log-weights, `(particles, data)`, unweighted and unscaled.

        Args:
            log_weights: log w, with enumerated sites summed out.
            elbo: what the ELBO averages, where that is not log w: with enumerated sites, Σ_c q(c) (log p − log q).
        """
        lw = log_weights.detach().double()
        chunk, n = lw.shape[0], self._seen
        terms = lw if elbo is None else elbo.detach().double()
        mean = terms.mean(0)
        square = (terms - mean).square().sum(0)
        if n == 0:
            self._log_sum, self._log_sum_sq = lw.logsumexp(0), (2 * lw).logsumexp(0)
            self._mean, self._square = mean, square
            self._top = lw
        else:
            self._log_sum = torch.logaddexp(self._log_sum, lw.logsumexp(0))
            self._log_sum_sq = torch.logaddexp(self._log_sum_sq, (2 * lw).logsumexp(0))
            delta = mean - self._mean
            self._mean = self._mean + delta * chunk / (n + chunk)
            self._square = self._square + square + delta.square() * n * chunk / (n + chunk)
            self._top = torch.cat([self._top, lw])
        if self._top.shape[0] > 4 * self._keep:  # not at each chunk: sorting costs more than keeping
            self._top = self._top.topk(self._keep, dim=0).values
        self._seen = n + chunk

    def result(self) -> Evidence:
        """Return the estimates from all chunks seen."""
        K = self._seen
        if self.num_particles != K:
            raise ArgumentError(f"Got {K} particles, expected {self.num_particles}: k̂ needs to know how many.")
        tail = self._top.topk(min(self._keep, self._top.shape[0]), dim=0).values
        log_ess = 2 * self._log_sum - self._log_sum_sq
        nan = torch.full_like(self._mean, torch.nan)
        relative = ((-log_ess).exp() - 1 / K).clamp(min=0) * K / max(K - 1, 1)
        return Evidence(
            elbo=self._mean,
            elbo_se=(self._square / ((K - 1) * K)).sqrt() if K > 1 else nan,
            log_evidence=self._log_sum - math.log(K),
            log_evidence_se=relative.sqrt() if K > 1 else nan,
            ess=log_ess.exp(),
            pareto_k=torch.from_numpy(pareto_k_from_tail(tail.cpu().numpy())),
            num_particles=K,
        )


def only_bound(t: "Terms") -> str | None:
    """Say why a pair has a bound on the evidence, and no estimate of it: its guide gives one code of many."""
    from ppl_vae.distributions.codes import OneCode
    from ppl_vae.distributions.unwrap import elements

    for name, site in t.latents.items():
        if site.is_local and isinstance(elements(site.fn), OneCode):
            return (
                f"the guide gives one code {name!r} of all that there are, so that draws of it see one term of "
                "log Σ p(z) p(x | z); the ELBO is a bound on it"
            )
    return None


def no_evidence(t: "Terms") -> str | None:
    """Say why a pair has no evidence: its code has no density or is one of many, or its prior is none."""
    import pyro.distributions as dist

    from ppl_vae.distributions.improper import Flat
    from ppl_vae.distributions.unwrap import elements
    from ppl_vae.distributions.vector_quantized import StraightThrough

    if any(site.is_auxiliary for site in t.guide.values()):
        return None  # autoguides carry their density in an auxiliary site
    for name, site in t.latents.items():
        if isinstance(elements(site.fn), StraightThrough):
            continue  # a function of codes, in model and guide
        known = t.model.get(name) or t.contracted.get(name)
        prior = known.fn if known is not None else None
        if isinstance(elements(site.fn), dist.Delta) and isinstance(elements(prior), dist.Delta):
            continue  # a value that follows from others, in model and guide
        for fn in (elements(site.fn), elements(prior)):
            if site.is_local and isinstance(fn, dist.Delta | dist.ImproperUniform):
                return (
                    f"the code {name!r} is deterministic ({type(fn).__name__}), so the pair defines no density of x; "
                    "its reconstruction is reported. A guide with noise, such as guide=amortized, has an evidence"
                )
            if site.is_local and isinstance(fn, Flat):
                return (
                    f"the prior of {name!r} is improper (log density 0 everywhere), so the pair defines no density "
                    "of x; its reconstruction is reported. A proper prior, such as that of model=vae, has an evidence"
                )
    return only_bound(t)
