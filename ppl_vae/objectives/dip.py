"""Disentangled inferred prior: codes whose covariance is the identity."""

from typing import TYPE_CHECKING, Any, Literal, final

from torch import Tensor

from ppl_vae.core.terms import Terms
from ppl_vae.errors import one_of
from ppl_vae.estimators import Pathwise, StickingTheLanding
from ppl_vae.objectives.aggregate import averaged, code_site, moments, plus
from ppl_vae.objectives.base import Bound, Objective, describe, positive, require
from ppl_vae.objectives.elbo import ELBO
from ppl_vae.schedules import Schedule, as_schedule

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@final
class DIP(Objective):
    r"""The ELBO less the distance of the covariance of codes from the identity.

    $$\mathcal{L} = \mathcal{L}_{\mathrm{ELBO}} - \lambda_{od} \sum_{i \ne j} C_{ij}^2
    - \lambda_d \sum_i (C_{ii} - 1)^2$$

    Type I takes the covariance of posterior means, C = Cov[μ(x)]; type II that of the codes, C = Cov[μ(x)] +
    E[Cov(z | x)] = Cov_q(z)[z]. Both are estimated from the batch, analytically in z (dimensions of a code are taken to
    be independent given x).

    Args:
        kind: `"I"`: the covariance of posterior means; `"II"`: of codes.
        off_diagonal: λ_od: a number or a schedule.
        diagonal: λ_d: a number or a schedule; by default 10 λ_od for type I, λ_od for type II, as in the paper.
        site: The latent site; by default the only local one.
        num_particles: Draws per datum.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum; the metric `dip` is the distance.

    Raises:
        CheckError: A site has no mean or variance; an estimator is not legal here.

    References:
        Kumar, Sattigeri and Balakrishnan (2018), Variational Inference of Disentangled Latent Concepts from Unlabeled
            Observations, https://arxiv.org/abs/1711.00848
    """

    legal = (Pathwise, StickingTheLanding)

    def __init__(
        self,
        kind: Literal["I", "II"] = "II",
        off_diagonal: float | Schedule = 10.0,
        diagonal: float | Schedule | None = None,
        site: str | None = None,
        num_particles: int = 1,
    ) -> None:
        super().__init__()
        one_of("kind", kind, ("I", "II"))
        self.num_particles = positive("num_particles", num_particles)
        self.kind, self.site = kind, site
        self.off_diagonal = as_schedule(off_diagonal, "off_diagonal")
        self.diagonal = None if diagonal is None else as_schedule(diagonal, "diagonal")

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        return averaged(self.of, vae, batch, self.num_particles, total, "The covariance of codes")

    def of(self, t: Terms) -> Bound:
        """The bound from the terms of one particle."""
        require(t, self.legal, "DIP", "the covariance of codes needs a gradient through earlier ones")
        mean, variance = moments(code_site(t, self.site))
        cov = covariance(mean)
        if self.kind == "II":
            cov = cov + variance.mean(0).diag()
        off = self.off_diagonal.like(cov)
        on = (10 * off if self.kind == "I" else off) if self.diagonal is None else self.diagonal.like(cov)
        variances = cov.diagonal()
        distance = off * (cov.square().sum() - variances.square().sum()) + on * (variances - 1).square().sum()
        return plus(ELBO().of(t), -distance, dip=distance)

    def extra_repr(self) -> str:  # noqa: D102
        return describe(kind=self.kind, num_particles=self.num_particles)


def covariance(x: Tensor) -> Tensor:
    """The covariance of `(data, latent)` over the data, E[x xᵀ] − E[x] E[x]ᵀ."""
    centred = x - x.mean(0)
    return centred.mT @ centred / x.shape[0]
