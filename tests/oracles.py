"""Models whose evidence, posterior and bounds are known in closed form; everything in float64, in nats.

Each oracle gives plain functions (no sampling, no code of ppl_vae), and a Pyro model and guide to be tried on
it.

    oracle = linear_gaussian()               local latents:  z_i ~ N(0, I),  x_i ~ N(W z_i + b, σ² I)
    oracle = beta_bernoulli()                global latent, conjugate; also gamma_poisson,
    dirichlet_categorical,
                                             normal_normal
    oracle = normal_hierarchy()              global and local latents:  w, z_i | w, x_i | z_i, all Gaussian

References:
    Tipping and Bishop, "Probabilistic principal component analysis", 1999.
    Gelman et al., "Bayesian data analysis", third edition, 2013, chapters 2, 3 and 5.
    Gil, Alajaji and Linder, "Rényi divergence measures for commonly used univariate continuous
    distributions", 2013.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

F64 = torch.float64


def _normal_log_density(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """log N(x; mean, covariance) by Cholesky, written out rather than taken from a distribution; (data,)."""
    factor = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(factor, (x - mean).mT, upper=False)
    log_det = 2 * factor.diagonal().log().sum()
    return -0.5 * (white.square().sum(0) + log_det + x.shape[-1] * math.log(2 * math.pi))


# --- linear-Gaussian: local latents


@dataclass(frozen=True)
class LinearGaussian:
    """z ~ N(0, I), x | z ~ N(W z + b, σ² I), with data `x`, (data, columns), drawn from it."""

    weight: Tensor
    bias: Tensor
    noise: float
    x: Tensor

    @property
    def covariance(self) -> Tensor:
        """Of x: W Wᵀ + σ² I."""
        return self.weight @ self.weight.mT + self.noise**2 * torch.eye(len(self.bias), dtype=F64)

    def log_evidence(self, x: Tensor | None = None) -> Tensor:
        """log p(x_i) = log N(x_i; b, W Wᵀ + σ² I), (data,)."""
        return _normal_log_density(self.x if x is None else x, self.bias, self.covariance)

    def posterior(self, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean (data, latent) and covariance (latent, latent): S = (I + WᵀW/σ²)⁻¹, m = S Wᵀ(x − b)/σ²."""
        x = self.x if x is None else x
        latent = self.weight.shape[1]
        gram = self.weight.mT @ self.weight / self.noise**2
        covariance = torch.linalg.inv(torch.eye(latent, dtype=F64) + gram)
        return (x - self.bias) @ self.weight @ covariance / self.noise**2, covariance

    def elbo(self, mean: Tensor, covariance: Tensor, x: Tensor | None = None) -> Tensor:
        """E_q[log p(x, z) − log q(z)] for q(z_i) = N(mean_i, covariance), (data,); differentiable.

        E_q log p(x | z) = −D/2 log 2πσ² − (‖x − b − W m‖² + tr(W S Wᵀ)) / 2σ²
        KL(q ‖ N(0, I)) = ½ (tr S + ‖m‖² − L − log |S|)

        Args:
            mean: (data, latent).
            covariance: (latent, latent) or (data, latent, latent).
            x: (data, columns).
        """
        x = self.x if x is None else x
        columns = len(self.bias)
        residual = (x - self.bias - mean @ self.weight.mT).square().sum(-1)
        spread = (self.weight @ covariance @ self.weight.mT).diagonal(dim1=-2, dim2=-1).sum(-1)
        log_likelihood = -0.5 * columns * math.log(2 * math.pi * self.noise**2)
        log_likelihood = log_likelihood - (residual + spread) / (2 * self.noise**2)
        return log_likelihood - self.kl(mean, covariance)

    def kl(self, mean: Tensor, covariance: Tensor) -> Tensor:
        """KL(q(z_i) ‖ p(z_i)), (data,)."""
        trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
        return 0.5 * (trace + mean.square().sum(-1) - mean.shape[-1] - torch.logdet(covariance))

    def elbo_gradient(self, mean: Tensor, covariance: Tensor, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gradient of Σ_i ELBO_i in mean, (data, latent), and in the one covariance, (latent, latent).

        ∂/∂m = Wᵀ(x − b − W m)/σ² − m;   ∂/∂S = n/2 (S⁻¹ − I − WᵀW/σ²)
        """
        x = self.x if x is None else x
        gram = self.weight.mT @ self.weight / self.noise**2
        in_mean = (x - self.bias - mean @ self.weight.mT) @ self.weight / self.noise**2 - mean
        in_covariance = torch.linalg.inv(covariance) - torch.eye(mean.shape[-1], dtype=F64) - gram
        return in_mean, 0.5 * len(x) * in_covariance

    def renyi(self, alpha: float, mean: Tensor, covariance: Tensor, x: Tensor | None = None) -> Tensor:
        """Rényi's bound, (data,): log E_q[w^(1−α)] / (1−α) = log p(x) − D_α(q ‖ p(z|x)).

        D_α(N(m₀, S₀) ‖ N(m₁, S₁)) = α/2 Δᵀ S_α⁻¹ Δ − log(|S_α| / |S₀|^(1−α) |S₁|^α) / 2(α−1),
        S_α = α S₁ + (1−α) S₀, which must be positive definite: for α > 1 it need not be.

        Args:
            alpha: order, above 0 and not 1.
            mean: (data, latent).
            covariance: (latent, latent).
            x: (data, columns).
        """
        target, target_covariance = self.posterior(x)
        between = alpha * target_covariance + (1 - alpha) * covariance
        assert torch.linalg.eigvalsh(between).min() > 0, "this Rényi divergence is infinite"
        gap = target - mean
        quadratic = 0.5 * alpha * (gap @ torch.linalg.inv(between) * gap).sum(-1)
        log_dets = torch.logdet(between) - (1 - alpha) * torch.logdet(covariance)
        divergence = quadratic - (log_dets - alpha * torch.logdet(target_covariance)) / (2 * (alpha - 1))
        return self.log_evidence(x) - divergence

    def model(self) -> LinearGaussianModel:
        """A fresh model with the true parameters."""
        return LinearGaussianModel(self.weight, self.bias, self.noise)

    def guide(self, *, diagonal: bool = False) -> LinearGaussianGuide:
        """A fresh guide that is the exact posterior (with `diagonal`: its mean and marginal variances)."""
        gain = torch.linalg.solve(self.covariance, self.weight).mT  # posterior mean = gain (x − b)
        return LinearGaussianGuide(gain, -gain @ self.bias, self.posterior()[1], diagonal=diagonal)

    def pair(self, *, diagonal: bool = False) -> tuple[LinearGaussianModel, LinearGaussianGuide]:
        """Model and exact guide."""
        return self.model(), self.guide(diagonal=diagonal)

    def altered(self, factor: float = 1.0, shift: float = 0.0) -> tuple[LinearGaussianModel, LinearGaussianGuide]:
        """Model and the best diagonal guide, `factor` times as wide and moved by `shift`."""
        guide = self.guide(diagonal=True)
        with torch.no_grad():
            guide.log_diagonal += math.log(factor)
            guide.offset += shift
        return self.model(), guide


class LinearGaussianModel(nn.Module):
    """The generative program; parameters `weight`, `bias`, `log_noise`; sites z and x in the plate data."""

    def __init__(self, weight: Tensor, bias: Tensor, noise: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(bias.clone())
        self.log_noise = nn.Parameter(torch.tensor(noise, dtype=F64).log())

    def forward(self, x: Tensor, *_: Any) -> None:
        latent = self.weight.shape[1]
        with pyro.plate("data", x.shape[0]):
            zero = torch.zeros(latent, dtype=F64, device=x.device)
            z = pyro.sample("z", dist.Normal(zero, 1.0).to_event(1))
            mean = z @ self.weight.mT + self.bias
            pyro.sample("x", dist.Normal(mean, self.log_noise.exp()).to_event(1), obs=x)


class LinearGaussianGuide(nn.Module):
    """q(z | x) = N(G x + g, S), amortized; parameters `gain`, `offset` and a factor of S."""

    def __init__(self, gain: Tensor, offset: Tensor, covariance: Tensor, *, diagonal: bool = False) -> None:
        super().__init__()
        self.gain = nn.Parameter(gain.clone())
        self.offset = nn.Parameter(offset.clone())
        self.diagonal = diagonal
        factor = torch.linalg.cholesky(torch.diag(covariance.diagonal()) if diagonal else covariance)
        self.log_diagonal = nn.Parameter(factor.diagonal().log())
        self.lower = nn.Parameter(factor.tril(-1), requires_grad=not diagonal)

    @property
    def scale_tril(self) -> Tensor:
        return self.lower.tril(-1) + torch.diag(self.log_diagonal.exp())

    @property
    def covariance(self) -> Tensor:
        return self.scale_tril @ self.scale_tril.mT

    def mean(self, x: Tensor) -> Tensor:
        return x @ self.gain.mT + self.offset

    def forward(self, x: Tensor, *_: Any) -> None:
        with pyro.plate("data", x.shape[0]):
            if self.diagonal:
                pyro.sample("z", dist.Normal(self.mean(x), self.log_diagonal.exp()).to_event(1))
            else:
                pyro.sample("z", dist.MultivariateNormal(self.mean(x), scale_tril=self.scale_tril))


def linear_gaussian(
    num_data: int = 12,
    columns: int = 5,
    latent: int = 2,
    noise: float = 0.7,
    seed: int = 0,
    orthogonal: bool = False,
) -> LinearGaussian:
    """Draw parameters and data; `orthogonal` columns of W make the posterior's covariance diagonal."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=F64)

    weight, bias = normal(columns, latent), normal(columns)
    if orthogonal:
        weight = torch.linalg.qr(weight).Q * torch.linspace(1.5, 0.8, latent, dtype=F64)
    x = normal(num_data, latent) @ weight.mT + bias + noise * normal(num_data, columns)
    return LinearGaussian(weight, bias, noise, x)


# --- conjugate pairs: one global latent


@dataclass(frozen=True)
class Conjugate:
    """A global latent `site` with a conjugate prior, and independent observations "x" in the plate "data".

    For any q of the prior's family, ELBO(q) = log p(x) − KL(q ‖ p(w | x)), `elbo`.

    Args:
        site: name of the latent.
        x: the data.
        prior: p(w).
        likelihood: w → the distribution of one datum.
        update: x → the exact posterior.
        log_evidence_of: x → log p(x) of all data together, in nats.
    """

    site: str
    x: Tensor
    prior: Distribution
    likelihood: Callable[[Tensor], Distribution]
    update: Callable[[Tensor], Distribution]
    log_evidence_of: Callable[[Tensor], Tensor]

    @property
    def posterior(self) -> Distribution:
        """p(w | x)."""
        return self.update(self.x)

    @property
    def log_evidence(self) -> Tensor:
        """log p(x), of all data together."""
        return self.log_evidence_of(self.x)

    def log_predictive(self, new: Tensor) -> Tensor:
        """log p(x* | x) of each new datum alone, (data,): the ratio of two evidences."""
        both = [self.log_evidence_of(torch.cat([self.x, datum[None]])) for datum in new]
        return torch.stack(both) - self.log_evidence

    def elbo(self, q: Distribution) -> Tensor:
        """log p(x) − KL(q ‖ p(w | x)) of all data together."""
        return self.log_evidence - kl_divergence(_plain(q), _plain(self.posterior))

    def model(self, x: Tensor, *_: Any) -> None:
        """The generative program."""
        w = pyro.sample(self.site, self.prior)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", self.likelihood(w), obs=x)

    def guide(self, factor: float = 1.0) -> ConjugateGuide:
        """A fresh guide: the exact posterior, with its positive parameters times `factor`."""
        return ConjugateGuide(self.site, self.posterior, factor)


class ConjugateGuide(nn.Module):
    """q(w): a distribution whose parameters are learnable, positive ones by their logarithm."""

    def __init__(self, site: str, start: Distribution, factor: float = 1.0) -> None:
        super().__init__()
        self.site, self.family = site, type(start)
        self.positive = {}
        self.values = nn.ParameterDict()
        for name in _parameters(start):
            value = getattr(start, name).detach().clone()
            self.positive[name] = name != "loc"
            self.values[name] = nn.Parameter((value * factor).log() if self.positive[name] else value)

    @property
    def distribution(self) -> Distribution:
        return self.family(**{k: v.exp() if self.positive[k] else v for k, v in self.values.items()})

    def forward(self, *_: Any) -> None:
        pyro.sample(self.site, self.distribution)


def _parameters(distribution: Distribution) -> tuple[str, ...]:
    names = {"Beta": ("concentration1", "concentration0"), "Gamma": ("concentration", "rate")}
    names |= {"Dirichlet": ("concentration",), "Normal": ("loc", "scale")}
    return names[type(distribution).__name__]


def _plain(d: Distribution) -> Distribution:
    """The same distribution of torch's own class, for which a KL is registered."""
    plain = getattr(torch.distributions, type(d).__name__)
    return plain(**{name: getattr(d, name) for name in _parameters(d)})


def beta_bernoulli(a: float = 2.0, b: float = 3.0, num_data: int = 8) -> Conjugate:
    """w ~ Beta(a, b),  x_i ~ Bernoulli(w):  p(x) = B(a + s, b + n − s) / B(a, b),  s = Σ x_i."""
    prior = dist.Beta(torch.tensor(a, dtype=F64), torch.tensor(b, dtype=F64))

    def update(x: Tensor) -> Distribution:
        return dist.Beta(prior.concentration1 + x.sum(), prior.concentration0 + (1 - x).sum())

    def log_beta(d: Distribution) -> Tensor:
        one, zero = d.concentration1, d.concentration0
        return torch.lgamma(one) + torch.lgamma(zero) - torch.lgamma(one + zero)

    x = (torch.arange(num_data) % 3 == 0).to(F64)
    return Conjugate("w", x, prior, dist.Bernoulli, update, lambda x: log_beta(update(x)) - log_beta(prior))


def gamma_poisson(a: float = 2.0, b: float = 1.5, num_data: int = 6) -> Conjugate:
    """w ~ Gamma(a, b), x_i ~ Poisson(w): p(x) = b^a Γ(a + s) / (Γ(a) (b + n)^(a + s) Π x_i!),  s = Σ x_i."""
    prior = dist.Gamma(torch.tensor(a, dtype=F64), torch.tensor(b, dtype=F64))

    def update(x: Tensor) -> Distribution:
        return dist.Gamma(prior.concentration + x.sum(), prior.rate + len(x))

    def log_evidence(x: Tensor) -> Tensor:
        q = update(x)
        before = prior.concentration * prior.rate.log() - torch.lgamma(prior.concentration)
        after = q.concentration * q.rate.log() - torch.lgamma(q.concentration)
        return before - after - torch.lgamma(x + 1).sum()

    x = (torch.arange(num_data) * 7 % 5).to(F64)
    return Conjugate("w", x, prior, dist.Poisson, update, log_evidence)


def dirichlet_categorical(concentration: tuple[float, ...] = (1.0, 2.0, 0.5), num_data: int = 9) -> Conjugate:
    """w ~ Dirichlet(α),  x_i ~ Categorical(w):  p(x) = Γ(Σα) / Γ(Σα + n) · Π_k Γ(α_k + n_k) / Γ(α_k)."""
    prior = dist.Dirichlet(torch.tensor(concentration, dtype=F64))
    size = len(concentration)

    def update(x: Tensor) -> Distribution:
        return dist.Dirichlet(prior.concentration + torch.bincount(x.long(), minlength=size))

    def log_normalizer(d: Distribution) -> Tensor:
        return torch.lgamma(d.concentration).sum() - torch.lgamma(d.concentration.sum())

    x = torch.arange(num_data) ** 2 % size
    evidence = lambda x: log_normalizer(update(x)) - log_normalizer(prior)  # noqa: E731
    return Conjugate("w", x, prior, dist.Categorical, update, evidence)


def normal_normal(
    loc: float = 0.5, scale: float = 2.0, noise: float = 0.8, num_data: int = 7, seed: int = 0
) -> Conjugate:
    """w ~ N(loc, scale²),  x_i ~ N(w, noise²):  x ~ N(loc 1, noise² I + scale² 11ᵀ)."""
    prior = dist.Normal(torch.tensor(loc, dtype=F64), torch.tensor(scale, dtype=F64))
    sigma = torch.tensor(noise, dtype=F64)

    def update(x: Tensor) -> Distribution:
        precision = 1 / scale**2 + len(x) / noise**2
        mean = (loc / scale**2 + x.sum() / noise**2) / precision
        return dist.Normal(mean, torch.tensor(precision, dtype=F64).rsqrt())

    def log_evidence(x: Tensor) -> Tensor:
        covariance = noise**2 * torch.eye(len(x), dtype=F64) + scale**2
        return _normal_log_density(x[None], torch.full_like(x, loc), covariance)[0]

    x = 1.0 + noise * torch.randn(num_data, generator=torch.Generator().manual_seed(seed), dtype=F64)
    return Conjugate("w", x, prior, lambda w: dist.Normal(w, sigma), update, log_evidence)


CONJUGATE: dict[str, Callable[[], Conjugate]] = {
    "beta_bernoulli": beta_bernoulli,
    "gamma_poisson": gamma_poisson,
    "dirichlet_categorical": dirichlet_categorical,
    "normal_normal": normal_normal,
}


# --- a Gaussian hierarchy: global and local latents


@dataclass(frozen=True)
class NormalHierarchy:
    """w ~ N(0, τ²);  z_i | w ~ N(w, ρ²);  x_i | z_i ~ N(z_i, σ²), z_i and x_i in the plate data."""

    tau: float
    rho: float
    sigma: float
    x: Tensor

    def log_evidence(self, x: Tensor | None = None) -> Tensor:
        """log p(x) of all data together: x ~ N(0, (ρ² + σ²) I + τ² 11ᵀ)."""
        x = self.x if x is None else x
        covariance = (self.rho**2 + self.sigma**2) * torch.eye(len(x), dtype=F64) + self.tau**2
        return _normal_log_density(x[None], torch.zeros_like(x), covariance)[0]

    def posterior_w(self, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of p(w | x)."""
        x = self.x if x is None else x
        precision = 1 / self.tau**2 + len(x) / (self.rho**2 + self.sigma**2)
        return x.sum() / (self.rho**2 + self.sigma**2) / precision, torch.tensor(precision, dtype=F64).rsqrt()

    def posterior_z(self, w: Tensor, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean, (data,), and standard deviation of p(z_i | w, x_i)."""
        x = self.x if x is None else x
        precision = 1 / self.rho**2 + 1 / self.sigma**2
        mean = (w / self.rho**2 + x / self.sigma**2) / precision
        return mean, torch.tensor(precision, dtype=F64).rsqrt()

    def elbo(self, loc: Tensor, scale: Tensor, x: Tensor | None = None) -> Tensor:
        """log p(x) − KL(q(w) ‖ p(w | x)), for q(w) = N(loc, scale²) and the exact q(z | w, x)."""
        mean, deviation = self.posterior_w(x)
        q, p = torch.distributions.Normal(loc, scale), torch.distributions.Normal(mean, deviation)
        return self.log_evidence(x) - kl_divergence(q, p)

    def model(self, x: Tensor, *_: Any) -> None:
        """The generative program."""
        zero = torch.zeros((), dtype=F64)
        w = pyro.sample("w", dist.Normal(zero, zero + self.tau))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(w, zero + self.rho))
            pyro.sample("x", dist.Normal(z, zero + self.sigma), obs=x)

    def guide(self) -> NormalHierarchyGuide:
        """A fresh guide that is the exact posterior."""
        return NormalHierarchyGuide(self)


class NormalHierarchyGuide(nn.Module):
    """q(w) = N(loc, scale²), q(z_i | w, x_i) = N(a w + c x_i, s²); starts at the exact posterior."""

    def __init__(self, oracle: NormalHierarchy) -> None:
        super().__init__()
        loc, scale = oracle.posterior_w()
        precision = 1 / oracle.rho**2 + 1 / oracle.sigma**2
        self.loc, self.log_scale = nn.Parameter(loc.clone()), nn.Parameter(scale.log())
        self.a = nn.Parameter(torch.tensor(1 / oracle.rho**2 / precision, dtype=F64))
        self.c = nn.Parameter(torch.tensor(1 / oracle.sigma**2 / precision, dtype=F64))
        self.log_s = nn.Parameter(torch.tensor(precision, dtype=F64).rsqrt().log())

    def forward(self, x: Tensor, *_: Any) -> None:
        w = pyro.sample("w", dist.Normal(self.loc, self.log_scale.exp()))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(self.a * w + self.c * x, self.log_s.exp()))


def normal_hierarchy(
    tau: float = 1.5, rho: float = 0.9, sigma: float = 0.6, num_data: int = 10, seed: int = 0
) -> NormalHierarchy:
    """Draw data from the hierarchy."""
    generator = torch.Generator().manual_seed(seed)
    w, z, x = (torch.randn(n, generator=generator, dtype=F64) for n in (1, num_data, num_data))
    return NormalHierarchy(tau, rho, sigma, tau * w + rho * z + sigma * x)
