"""A divergence between all codes and the prior in place of, or beside, that of each."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import Tensor

from ppl_vae.core.terms import Terms
from ppl_vae.errors import ArgumentError
from ppl_vae.estimators import Pathwise, StickingTheLanding
from ppl_vae.objectives.aggregate import averaged, by_datum, code_site, codes, plus
from ppl_vae.objectives.base import Bound, Objective, describe, positive, require
from ppl_vae.objectives.elbo import ELBO
from ppl_vae.schedules import Schedule, as_schedule

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

Kernel = Callable[[Tensor], Tensor]
"""From squared distances to similarities."""


@final
class InfoVAE(Objective):
    r"""The ELBO with its KL weighted by 1 − α, and the maximum mean discrepancy between all codes and the prior.

    $$\mathcal{L} = \mathbb{E}[\log p(x \mid z)] - (1 - \alpha)\, \mathrm{KL}(q(z \mid x) \,\|\, p(z))
    - (\alpha + \lambda - 1)\, \mathrm{MMD}^2(q(z), p(z))$$

    α = 1 is the MMD-VAE, where a code may tell all it can of its datum as long as all codes together look like the
    prior; α = 0, λ = 1 is the ELBO. MMD² is the unbiased estimate (it may be negative), from the codes of a batch and
    as many draws of the prior.

    Args:
        alpha: α, a number or a schedule: the KL is weighted by 1 − α.
        lambda_: λ: the squared discrepancy is weighted by α + λ − 1.
        kernel: `"imq"` (inverse multiquadric), `"rbf"` (Gaussian), or a function of squared distances.
        bandwidth: The scale s of the two, in standard deviations of the prior: with latent size L,
            C = 2 L s² is the mean squared distance of two draws of Normal(0, s²).
        site: The latent site; by default the only local one.
        num_particles: Draws per datum.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum; the metric `mmd` is MMD².

    Raises:
        CheckError: An estimator is not legal here.

    References:
        Zhao, Song and Ermon (2019), InfoVAE: Balancing Learning and Inference in Variational Autoencoders,
            https://arxiv.org/abs/1706.02262
        Gretton et al. (2012), A Kernel Two-Sample Test, https://jmlr.org/papers/v13/gretton12a.html
    """

    legal = (Pathwise, StickingTheLanding)

    def __init__(
        self,
        alpha: float | Schedule = 1.0,
        lambda_: float = 100.0,
        kernel: Literal["imq", "rbf"] | Kernel = "imq",
        bandwidth: float = 1.0,
        site: str | None = None,
        num_particles: int = 1,
    ) -> None:
        super().__init__()
        if isinstance(kernel, str) and kernel not in KERNELS:
            raise ArgumentError(
                f"Got {kernel!r}, expected kernel='imq', kernel='rbf' or a function of squared distances."
            )
        if not bandwidth > 0:
            raise ArgumentError(f"Got {bandwidth}, expected bandwidth > 0.")
        self.num_particles = positive("num_particles", num_particles)
        self.alpha = as_schedule(alpha, "alpha")
        self.lambda_, self.kernel, self.bandwidth, self.site = lambda_, kernel, bandwidth, site

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        return averaged(self.of, vae, batch, self.num_particles, total, "The discrepancy of codes from the prior")

    def of(self, t: Terms) -> Bound:
        """The bound from the terms of one particle."""
        require(t, self.legal, "InfoVAE", "the discrepancy needs a gradient through the codes")
        site = code_site(t, self.site)
        prior = t.prior(site.name).fn
        draws = prior.rsample() if prior.has_rsample else prior.sample()
        discrepancy = mmd(codes(site), by_datum(site, draws), self.similarity)
        alpha = self.alpha.like(discrepancy)
        return plus(ELBO().of(t, beta=1 - alpha), -(alpha + self.lambda_ - 1) * discrepancy, mmd=discrepancy)

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """The kernel of all pairs of `a`, `(n, latent)`, and `b`, `(m, latent)`: `(n, m)`."""
        squared = (a[:, None] - b[None]).square().sum(-1)
        if not isinstance(self.kernel, str):
            return self.kernel(squared)
        return KERNELS[self.kernel](squared, 2 * a.shape[1] * self.bandwidth**2)

    def extra_repr(self) -> str:  # noqa: D102
        return describe(lambda_=self.lambda_, kernel=self.kernel, num_particles=self.num_particles)


KERNELS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "imq": lambda squared, c: c / (c + squared),
    "rbf": lambda squared, c: torch.exp(-squared / c),
}
"""Kernels of squared distances, with their scale C."""


def mmd(a: Tensor, b: Tensor, similarity: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    r"""The unbiased estimate of the squared maximum mean discrepancy of two samples `(n, latent)` and `(m, latent)`.

    $$\mathrm{MMD}^2 = \frac{1}{n(n-1)} \sum_{i \ne j} k(a_i, a_j) + \frac{1}{m(m-1)} \sum_{i \ne j} k(b_i, b_j)
    - \frac{2}{nm} \sum_{i, j} k(a_i, b_j)$$

    It is 0 where a sample has one point only, of which nothing can be said without bias.
    """
    if min(len(a), len(b)) < 2:
        return 0.0 * (a.sum() + b.sum())
    return _within(similarity(a, a)) + _within(similarity(b, b)) - 2 * similarity(a, b).mean()


def _within(k: Tensor) -> Tensor:
    n = k.shape[0]
    return (k.sum() - k.diagonal().sum()) / (n * (n - 1))
