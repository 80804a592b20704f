"""The importance-weighted bound and its relatives: what each makes of K log-weights."""

import math
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from ppl_vae.core.terms import Terms
from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.estimators import Concrete, DoublyReparameterized, Enumerate, Implicit, Pathwise, ScoreFunction
from ppl_vae.objectives.base import Bound, Objective, describe, metrics, positive, require
from ppl_vae.objectives.multisample import Multisample, latent_surrogate, log_mean_exp, nested_terms, scores
from ppl_vae.schedules import Schedule, as_schedule

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@final
class IWAE(Multisample):
    r"""The importance-weighted evidence lower bound of K particles per datum.

    $$\mathcal{L}_K = \sum_i \mathbb{E}\Big[\log \frac1K \sum_{k=1}^K \frac{p(x_i, z_{ki})}{q(z_{ki} \mid x_i)}\Big]$$

    It grows with K from the ELBO (K = 1) to log p(x). With global latents w it is the nested bound: one draw of w,
    E[log p(w) − log q(w) + (N/B) Σᵢ log mean_k exp lₖᵢ]; the scale of a minibatch is never inside the logarithm.

    Args:
        num_particles: K, draws per datum.
        joint: Take the batch as one joint observation, on the full data only, with one weight g + Σᵢ lᵢ for a draw of
            all latents. Legal without a plate over data, too.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum.

    Raises:
        CheckError: The pair has no data plate, or the batch of a joint bound is not all data; an estimator is not legal
            here, or `DoublyReparameterized` is not at every site.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519
    """

    legal = (Pathwise, Implicit, Concrete, DoublyReparameterized, ScoreFunction, Enumerate)

    def __init__(self, num_particles: int = 5, joint: bool = False) -> None:
        super().__init__(num_particles, joint)

    def bound(self, log_w: Tensor) -> Tensor:  # noqa: D102
        return log_mean_exp(log_w)

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        if self.joint or not any(isinstance(e, DoublyReparameterized) for e in vae.estimators.values()):
            return super().forward(vae, batch, total)
        t = nested_terms(vae, batch, self.num_particles, total, cut=True)
        require(t, self.legal, "IWAE", "its gradient would be biased")
        return doubly_reparameterized(t)


def doubly_reparameterized(t: Terms) -> Bound:
    """The importance-weighted bound with weight w̃ on the model's direct gradient and w̃² on that into each latent."""
    others = [n for n, e in t.estimators.items() if not isinstance(e, DoublyReparameterized)]
    if others or t.has_global_latents:
        what = f"site {others[0]!r} has another estimator" if others else "the guide has global latents"
        raise CheckError(
            f"DoublyReparameterized needs every latent site to be local and to have it, but {what}. "
            "Use estimators={'*': DoublyReparameterized()}, or Pathwise."
        )
    log_p = t.sum(t.model, True, weighted=True)
    log_w = log_p - t.sum(t.leaf_guide, True, weighted=True)  # as a function of the leaves and the model's parameters
    normalized = torch.softmax(log_w, 0).detach()
    scale: float | Tensor = t.data_scale / t.total
    value = scale * log_mean_exp(log_w).sum()
    surrogate = scale * (normalized * log_p).sum() + scale * latent_surrogate(t, (normalized**2 * log_w).sum())
    joint = t.ratio(False, weighted=True).mean() / t.total
    return Bound((value + joint).detach(), surrogate + joint, metrics(t))


@final
class CIWAE(Multisample):
    r"""A convex combination of the ELBO and the importance-weighted bound, from the same K particles.

    $$\mathcal{L} = \beta\, \mathcal{L}_{\mathrm{ELBO}} + (1 - \beta)\, \mathcal{L}_K$$

    Sites that are enumerated are summed out of the weights, in both.

    Args:
        num_particles: K, draws per datum.
        beta: The share of the ELBO, in [0, 1]: a number or a schedule.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum.

    Raises:
        CheckError: The pair has no data plate; an estimator is not legal here.

    References:
        Rainforth et al. (2018), Tighter Variational Bounds Are Not Necessarily Better, https://arxiv.org/abs/1802.04537
    """

    def __init__(self, num_particles: int = 16, beta: float | Schedule = 0.5) -> None:
        super().__init__(num_particles)
        if isinstance(beta, (int, float)) and not 0 <= beta <= 1:
            raise ArgumentError(f"Got beta={beta}, expected the share of the ELBO, in [0, 1].")
        self.beta = as_schedule(beta, "beta")

    def bound(self, log_w: Tensor) -> Tensor:  # noqa: D102
        beta = self.beta.like(log_w)
        return beta * log_w.mean(0) + (1 - beta) * log_mean_exp(log_w)


@final
class MIWAE(Multisample):
    r"""The mean of M importance-weighted bounds of K/M particles each.

    $$\mathcal{L}_{M, K/M} = \sum_i \mathbb{E}\Big[\frac1M \sum_{m=1}^M \log \frac{M}{K} \sum_{k=1}^{K/M}
    \frac{p(x_i, z_{mki})}{q(z_{mki} \mid x_i)}\Big]$$

    M = 1 is [`IWAE`][ppl_vae.objectives.IWAE], M = K the ELBO. The bound is looser than the former, but the gradient
    of the guide keeps its signal, which that of the tight bound loses as K grows. Sites that are enumerated are
    summed out of the weights.

    Args:
        num_particles: K, all draws per datum.
        num_groups: M, a divisor of K: bounds of K/M draws each.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum.

    Raises:
        CheckError: The pair has no data plate; an estimator is not legal here.

    References:
        Rainforth et al. (2018), Tighter Variational Bounds Are Not Necessarily Better, https://arxiv.org/abs/1802.04537
    """

    def __init__(self, num_particles: int = 16, num_groups: int = 4) -> None:
        super().__init__(num_particles)
        self.num_groups = divisor(num_groups, num_particles)

    def bound(self, log_w: Tensor) -> Tensor:  # noqa: D102
        return grouped(log_w, self.num_groups)

    def extra_repr(self) -> str:  # noqa: D102
        return describe(num_particles=self.num_particles, num_groups=self.num_groups)


def divisor(num_groups: int, num_particles: int) -> int:
    """The number of groups, where it divides the number of particles."""
    if num_particles % positive("num_groups", num_groups):
        raise ArgumentError(
            f"Got num_groups={num_groups}, expected a divisor of num_particles={num_particles} (all draws per datum)."
        )
    return num_groups


def grouped(log_w: Tensor, groups: int) -> Tensor:
    """The mean over groups of particles of their log-mean-exp: `(particles, data)` → `(data,)`."""
    return log_mean_exp(log_w.unflatten(0, (groups, -1)).transpose(0, 1)).mean(0)


@final
class Renyi(Multisample):
    r"""Rényi's bound of order α, estimated with K particles per datum.

    $$\mathcal{L}_\alpha = \sum_i \mathbb{E}\Big[\frac{1}{1 - \alpha} \log \frac1K \sum_{k=1}^K
    \Big(\frac{p(x_i, z_{ki})}{q(z_{ki} \mid x_i)}\Big)^{1 - \alpha}\Big]$$

    α = 1 is the ELBO, α = 0 the importance-weighted bound, α = −∞ the best particle alone (VR-max), α = ∞ the worst. It
    falls as α grows. For α ≥ 0 its exact value (K → ∞) is at most log p(x); for α < 0 it is above, and what K particles
    estimate lies below that. With global latents it is nested, as [`IWAE`][ppl_vae.objectives.IWAE] is.
    Sites that are enumerated are summed out of the weights, whatever α.

    Args:
        alpha: The order, a number or a schedule: 1 is the ELBO, 0 IWAE, -inf the best particle alone (VR-max), inf the
            worst.
        num_particles: K, draws per datum.
        joint: Take the batch as one joint observation, on the full data only, as
            [`IWAE`][ppl_vae.objectives.IWAE] does.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum.

    Raises:
        CheckError: The pair has no data plate; an estimator is not legal here (sticking-the-landing leaves out a term
            whose mean is zero under the ELBO only).

    References:
        Li and Turner (2016), Rényi Divergence Variational Inference, https://arxiv.org/abs/1602.02311

    Example:
        >>> log_w = torch.tensor([[0.0], [2.0]])  # two particles
        >>> [round(renyi(log_w, a).item(), 3) for a in (-math.inf, 0.0, 1.0, math.inf)]
        [2.0, 1.434, 1.0, 0.0]
    """

    def __init__(self, alpha: float | Schedule = 0.5, num_particles: int = 5, joint: bool = False) -> None:
        super().__init__(num_particles, joint)
        extreme = isinstance(alpha, (int, float)) and math.isinf(alpha)
        self.alpha: float | Schedule = float(alpha) if extreme else as_schedule(alpha, "alpha")  # type: ignore[arg-type]

    def bound(self, log_w: Tensor) -> Tensor:  # noqa: D102
        return renyi(log_w, self.alpha.like(log_w) if isinstance(self.alpha, Schedule) else self.alpha)


def renyi(log_w: Tensor, alpha: float | Tensor) -> Tensor:
    """Log-mean-exp of (1 − α) log w over the particles, divided by 1 − α: `(particles, data)` → `(data,)`."""
    if isinstance(alpha, float) and math.isinf(alpha):
        return log_w.amin(0) if alpha > 0 else log_w.amax(0)
    order = torch.as_tensor(1.0 - alpha, dtype=log_w.dtype, device=log_w.device)
    mean = log_w.mean(0)
    # Around the mean: as 1 − α → 0 the quotient is (small)/(small), and not (large − large)/(small).
    safe = torch.where(order.abs() < 1e-6, torch.ones_like(order), order)
    away = log_mean_exp(safe * (log_w - mean)) / safe
    return torch.where(order.abs() < 1e-6, mean, mean + away)


@final
class PIWAE(Objective):
    r"""The importance-weighted bound for the model, the mean of M smaller ones for the guide, from the same K draws.

    $$\Delta_\theta = \nabla_\theta \mathcal{L}_K, \qquad \Delta_\phi = \nabla_\phi \mathcal{L}_{M, K/M}$$

    The model gets the gradient of the tight bound ([`IWAE`][ppl_vae.objectives.IWAE]), the guide that of the one with
    more signal ([`MIWAE`][ppl_vae.objectives.MIWAE]). What is the model's and what the guide's is told apart at the
    latents, so the programs may share parameters: these get the sum of both parts.

    Args:
        num_particles: K, all draws per datum.
        num_groups: M, a divisor of K: bounds of K/M draws each.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum; the value is the tight bound's.

    Raises:
        CheckError: The pair has no data plate; an estimator is not legal here.

    References:
        Rainforth et al. (2018), Tighter Variational Bounds Are Not Necessarily Better, https://arxiv.org/abs/1802.04537
    """

    legal = (Pathwise, ScoreFunction)
    mean_over_data = True

    def __init__(self, num_particles: int = 16, num_groups: int = 4) -> None:
        super().__init__()
        self.num_particles = positive("num_particles", num_particles)
        self.num_groups = divisor(num_groups, num_particles)

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        t = nested_terms(vae, batch, self.num_particles, total, cut=True)
        require(t, self.legal, "PIWAE", "its gradient would be biased")
        return parted(t, self.num_groups)

    def extra_repr(self) -> str:  # noqa: D102
        return describe(num_particles=self.num_particles, num_groups=self.num_groups)


def parted(t: Terms, groups: int) -> Bound:
    """The gradient of one bound for the model and of another for the guide.

    With vₖᵢ = ∂L/∂lₖᵢ of either bound, the weights of the particles: the model's parameters take Σ v ∇ log p directly,
    the guide's −Σ v ∇ log q, and what Σ v ∇ log p gives to each latent.

    Args:
        t: Terms that were cut at the latents.
        groups: M.
    """
    log_p, log_q = t.sum(t.model, True, weighted=True), t.sum(t.guide, True, weighted=True)
    joint_p, joint_q = t.sum(t.model, False, weighted=True)[0], t.sum(t.guide, False, weighted=True)[0]
    local, joint = (log_p - log_q).detach(), (joint_p - joint_q).detach()
    value = joint + t.data_scale * log_mean_exp(local).sum()
    loose = joint + t.data_scale * grouped(local, groups).sum()
    model = joint_p + t.data_scale * (group_weights(local, 1) * log_p).sum()
    v = group_weights(local, groups)
    guide = latent_surrogate(t, joint_p + t.data_scale * (v * log_p).sum())
    guide = guide - joint_q - t.data_scale * (v * log_q).sum()
    guide = guide + scores(t, lambda log_w: grouped(log_w, groups), local, loose)
    return Bound(value / t.total, (model + guide) / t.total, metrics(t))


def group_weights(log_w: Tensor, groups: int) -> Tensor:
    """The derivative of `grouped`: weights `(particles, data)`, normalized in each group, that sum to 1 over all."""
    return torch.softmax(log_w.unflatten(0, (groups, -1)), 1).flatten(0, 1) / groups
