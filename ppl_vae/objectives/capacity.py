"""A KL that is held at a capacity, which training raises."""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ppl_vae.estimators import Pathwise
from ppl_vae.objectives.base import describe, mean_kl, positive, require
from ppl_vae.objectives.bound import Bound
from ppl_vae.objectives.elbo import ELBO
from ppl_vae.schedules import Schedule, as_schedule
from ppl_vae.terms import terms

if TYPE_CHECKING:
    from ppl_vae.vae import VAE


class Capacity(nn.Module):
    r"""The reconstruction, with the KL drawn towards a capacity C that grows while training.

    $$\mathcal{L} = \mathbb{E}[\log p(x \mid z)] - \gamma\, \Big|\frac1B \sum_i \mathrm{KL}_i - C\Big|$$

    The KL is that of all latent sites, analytic where that is known and legal, else sampled; that of global sites
    counts by its share per datum.

    Args:
        capacity: C, in nats per datum: a number or a schedule.
        gamma: γ: a number or a schedule.
        num_particles: Draws per datum.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum.

    Raises:
        CheckError: A site is not pathwise.

    References:
        Understanding disentangling in β-VAE (Burgess et al., 2018), https://arxiv.org/abs/1804.03599
    """

    legal = (Pathwise,)

    def __init__(
        self, capacity: float | Schedule = 25.0, gamma: float | Schedule = 10.0, num_particles: int = 1
    ) -> None:
        super().__init__()
        self.num_particles = positive("num_particles", num_particles)
        self.capacity, self.gamma = as_schedule(capacity, "capacity"), as_schedule(gamma, "gamma")

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        t = terms(vae, batch, self.num_particles, total=total)
        require(t, self.legal, "Capacity", "the KL is compared with a capacity, and needs a gradient of its own")
        kl = torch.stack(list(mean_kl(t, weighted=True).values())).sum()
        excess = self.gamma.value * (kl - self.capacity.value).abs()
        bound = ELBO().of(t, beta=0.0)
        return Bound(bound.value - excess.detach(), bound.surrogate - excess, bound.metrics)

    def extra_repr(self) -> str:  # noqa: D102
        return describe(num_particles=self.num_particles)
