"""Between the ELBO and the importance-weighted bound."""

from typing import TYPE_CHECKING, Any

from torch import nn

from ppl_vae.estimators import Enumerate, Pathwise, ScoreFunction
from ppl_vae.objectives.base import describe, positive, require
from ppl_vae.objectives.bound import Bound
from ppl_vae.objectives.multisample import log_mean_exp, multisample, nested_terms
from ppl_vae.schedules import Schedule, as_schedule

if TYPE_CHECKING:
    from ppl_vae.vae import VAE


class CIWAE(nn.Module):
    r"""A convex combination of the ELBO and the importance-weighted bound, from the same K particles.

    $$\mathcal{L} = \beta\, \mathcal{L}_{\mathrm{ELBO}} + (1 - \beta)\, \mathcal{L}_K$$

    Sites that are enumerated are summed out of the weights, in both.

    Args:
        num_particles: K.
        beta: The share of the ELBO, in [0, 1]: a number or a schedule.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum.

    Raises:
        CheckError: The pair has no data plate; an estimator is not legal here.

    References:
        Tighter Variational Bounds Are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537
    """

    legal = (Pathwise, ScoreFunction, Enumerate)

    def __init__(self, num_particles: int = 16, beta: float | Schedule = 0.5) -> None:
        super().__init__()
        self.num_particles = positive("num_particles", num_particles)
        if isinstance(beta, (int, float)) and not 0 <= beta <= 1:
            raise ValueError(f"Expected 0 ≤ beta ≤ 1, the share of the ELBO, got {beta}.")
        self.beta = as_schedule(beta, "beta")

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        t = nested_terms(vae, batch, self.num_particles, total)
        require(t, self.legal, "CIWAE", "its gradient would be biased")
        beta = self.beta.value
        return multisample(t, lambda log_w: beta * log_w.mean(0) + (1 - beta) * log_mean_exp(log_w))

    def extra_repr(self) -> str:  # noqa: D102
        return describe(num_particles=self.num_particles)
