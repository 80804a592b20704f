"""The mean of several importance-weighted bounds."""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ppl_vae.estimators import Enumerate, Pathwise, ScoreFunction
from ppl_vae.objectives.base import describe, positive, require
from ppl_vae.objectives.bound import Bound
from ppl_vae.objectives.multisample import log_mean_exp, multisample, nested_terms

if TYPE_CHECKING:
    from ppl_vae.vae import VAE


class MIWAE(nn.Module):
    r"""The mean of M importance-weighted bounds of K/M particles each.

    $$\mathcal{L}_{M, K/M} = \sum_i \mathbb{E}\Big[\frac1M \sum_{m=1}^M \log \frac{M}{K} \sum_{k=1}^{K/M}
    \frac{p(x_i, z_{mki})}{q(z_{mki} \mid x_i)}\Big]$$

    M = 1 is [`IWAE`][ppl_vae.objectives.IWAE], M = K the ELBO. The bound is looser than the former, but the gradient
    of the guide keeps its signal, which that of the tight bound loses as K grows. Sites that are enumerated are
    summed out of the weights.

    Args:
        num_particles: K, all draws per datum.
        num_groups: M, a divisor of K.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum.

    Raises:
        CheckError: The pair has no data plate; an estimator is not legal here.

    References:
        Tighter Variational Bounds Are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537
    """

    legal = (Pathwise, ScoreFunction, Enumerate)

    def __init__(self, num_particles: int = 16, num_groups: int = 4) -> None:
        super().__init__()
        self.num_particles, self.num_groups = grouping(num_particles, num_groups)

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        t = nested_terms(vae, batch, self.num_particles, total)
        require(t, self.legal, "MIWAE", "its gradient would be biased")
        return multisample(t, lambda log_w: grouped(log_w, self.num_groups))

    def extra_repr(self) -> str:  # noqa: D102
        return describe(num_particles=self.num_particles, num_groups=self.num_groups)


def grouping(num_particles: int, num_groups: int) -> tuple[int, int]:
    """Both numbers, where the second divides the first."""
    positive("num_particles", num_particles)
    positive("num_groups", num_groups)
    if num_particles % num_groups:
        raise ValueError(
            f"Expected num_groups to divide num_particles (all draws per datum), got {num_groups} and {num_particles}."
        )
    return num_particles, num_groups


def grouped(log_w: Tensor, groups: int) -> Tensor:
    """The mean over groups of particles of their log-mean-exp: `(particles, data)` → `(data,)`."""
    return log_mean_exp(log_w.unflatten(0, (groups, -1)).transpose(0, 1)).mean(0)
