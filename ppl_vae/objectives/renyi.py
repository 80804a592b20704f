"""Rényi's variational bound."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ppl_vae.estimators import Enumerate, Pathwise, ScoreFunction
from ppl_vae.objectives.base import Bound, describe, positive, require
from ppl_vae.objectives.joint import joint_bound, joint_terms
from ppl_vae.objectives.multisample import log_mean_exp, multisample, nested_terms
from ppl_vae.schedules import Schedule, as_schedule

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


class Renyi(nn.Module):
    r"""Rényi's bound of order α, estimated with K particles per datum.

    $$\mathcal{L}_\alpha = \sum_i \mathbb{E}\Big[\frac{1}{1 - \alpha} \log \frac1K \sum_{k=1}^K
    \Big(\frac{p(x_i, z_{ki})}{q(z_{ki} \mid x_i)}\Big)^{1 - \alpha}\Big]$$

    α = 1 is the ELBO, α = 0 the importance-weighted bound, α = −∞ the best particle alone (VR-max), α = ∞ the worst. It
    falls as α grows. For α ≥ 0 its exact value (K → ∞) is at most log p(x); for α < 0 it is above, and what K particles
    estimate lies below that. With global latents it is nested, as [`IWAE`][ppl_vae.objectives.IWAE] is.
    Sites that are enumerated are summed out of the weights, whatever α.

    Args:
        alpha: The order: a number, ±∞ included, or a schedule.
        num_particles: K.
        joint: Take the batch as one joint observation, as [`IWAE`][ppl_vae.objectives.IWAE] does.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum.

    Raises:
        CheckError: The pair has no data plate; an estimator is not legal here (sticking-the-landing leaves out a term
            whose mean is zero under the ELBO only).

    References:
        Rényi Divergence Variational Inference (Li and Turner, 2016), https://arxiv.org/abs/1602.02311

    Example:
        >>> log_w = torch.tensor([[0.0], [2.0]])  # two particles
        >>> [round(renyi(log_w, a).item(), 3) for a in (-math.inf, 0.0, 1.0, math.inf)]
        [2.0, 1.434, 1.0, 0.0]
    """

    legal = (Pathwise, ScoreFunction, Enumerate)

    def __init__(self, alpha: float | Schedule = 0.5, num_particles: int = 5, joint: bool = False) -> None:
        super().__init__()
        self.num_particles, self.joint = positive("num_particles", num_particles), joint
        extreme = isinstance(alpha, (int, float)) and math.isinf(alpha)
        self.alpha: float | Schedule = float(alpha) if extreme else as_schedule(alpha, "alpha")  # type: ignore[arg-type]

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        alpha = self.alpha.value if isinstance(self.alpha, Schedule) else self.alpha
        if self.joint:
            return joint_bound(joint_terms(vae, batch, self.num_particles, total), lambda log_w: renyi(log_w, alpha))
        t = nested_terms(vae, batch, self.num_particles, total)
        require(t, self.legal, "Renyi", "its gradient would be biased")
        return multisample(t, lambda log_w: renyi(log_w, alpha))

    def extra_repr(self) -> str:  # noqa: D102
        return describe(num_particles=self.num_particles, joint=self.joint)


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
