"""Total correlation by a discriminator."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppl_vae.core.functional import call_with
from ppl_vae.core.terms import Terms
from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.estimators import Pathwise
from ppl_vae.nn.mlp import check_sizes
from ppl_vae.objectives.aggregate import averaged, code_site, codes, plus
from ppl_vae.objectives.base import Bound, Objective, describe, positive, require
from ppl_vae.objectives.elbo import ELBO
from ppl_vae.schedules import Schedule, as_schedule

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@final
class FactorVAE(Objective):
    r"""The ELBO less the total correlation of codes, which a discriminator estimates.

    $$\mathcal{L} = \mathcal{L}_{\mathrm{ELBO}} - \gamma\, \mathbb{E}_{q(z)}[d(z)], \qquad
    d(z) \approx \log \frac{q(z)}{\prod_j q(z_j)}$$

    The discriminator d, a network of this objective, learns the logit of "a code" against "a code whose dimensions were
    permuted across the batch, each by itself". Its parameters are `objective.parameters()`, and go to the same
    optimizer; they get no gradient from the bound, nor the pair one from their loss.

    Args:
        gamma: The weight of the total correlation: a number or a schedule.
        latent_dim: The size of a code; by default that of the first batch.
        hidden: Widths of the discriminator's hidden layers.
        discriminator: A network of your own, with `latent_dim` None, from `(data, latent)` to `(data,)` or `(data, 1)`.
        site: The latent site; by default the only local one.
        num_particles: Draws per datum.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum; the metrics `total_correlation` and
        `discriminator_loss` (log 2 where codes and permuted codes look alike).

    Raises:
        CheckError: A site is not pathwise; the discriminator is for codes of another size.

    References:
        Kim and Mnih (2018), Disentangling by Factorising, https://arxiv.org/abs/1802.05983
    """

    legal = (Pathwise,)

    def __init__(
        self,
        gamma: float | Schedule = 10.0,
        latent_dim: int | None = None,
        hidden: tuple[int, ...] = (256, 256, 256),
        discriminator: nn.Module | None = None,
        site: str | None = None,
        num_particles: int = 1,
    ) -> None:
        super().__init__()
        if latent_dim is not None and discriminator is not None:
            raise ArgumentError("Got latent_dim and a discriminator of your own, expected one of the two.")
        self.num_particles = positive("num_particles", num_particles)
        self.gamma = as_schedule(gamma, "gamma")
        self.latent_dim, self.site = latent_dim, site
        self.discriminator = _mlp(latent_dim, hidden) if discriminator is None else discriminator

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        return averaged(self.of, vae, batch, self.num_particles, total, "The total correlation of codes")

    def of(self, t: Terms) -> Bound:
        """The bound from the terms of one particle."""
        require(t, self.legal, "FactorVAE", "the total correlation needs a gradient through the codes")
        z = codes(code_site(t, self.site))
        if self.latent_dim is not None and z.shape[1] != self.latent_dim:
            raise CheckError(f"Got codes of size {z.shape[1]}, expected FactorVAE(latent_dim={z.shape[1]}).")
        loss = self._loss(self._cast(z.detach()))  # first: it gives a lazy network its size
        constants = {id(p): p.detach() for p in self.discriminator.parameters()}
        correlation = call_with(self.discriminator, constants, self._cast(z)).mean()
        bound = plus(
            ELBO().of(t),
            -self.gamma.like(z) * correlation.to(z),
            total_correlation=correlation,
            discriminator_loss=loss,
        )
        return Bound(bound.value, bound.surrogate - loss.to(z), bound.metrics)

    def _loss(self, z: Tensor) -> Tensor:
        """The cross entropy of telling codes from permuted codes."""
        real, fake = self.discriminator(z), self.discriminator(permuted(z))
        return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())

    def _cast(self, z: Tensor) -> Tensor:
        like = next(self.discriminator.parameters(), z)
        return z.to(like.device, like.dtype)

    def extra_repr(self) -> str:  # noqa: D102
        return describe(num_particles=self.num_particles)


def permuted(z: Tensor) -> Tensor:
    """Codes `(data, latent)` with each dimension permuted across the data by itself: a sample of Πⱼ q(zⱼ)."""
    return z.gather(0, torch.rand_like(z).argsort(0))


def _mlp(latent_dim: int | None, hidden: tuple[int, ...]) -> nn.Module:
    check_sizes(hidden=hidden, latent_dim=latent_dim or 1)
    widths = [*hidden, 1]
    layers: list[nn.Module] = [nn.LazyLinear(widths[0]) if latent_dim is None else nn.Linear(latent_dim, widths[0])]
    for before, after in pairwise(widths):
        layers += [nn.LeakyReLU(0.2), nn.Linear(before, after)]
    return nn.Sequential(*layers)
