"""The KL of a code in three parts, each with a weight of its own."""

import math
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import Tensor

from ppl_vae.core.half import widened
from ppl_vae.core.site import Site
from ppl_vae.core.terms import Terms
from ppl_vae.distributions.unwrap import factors, family
from ppl_vae.errors import CheckError, one_of
from ppl_vae.estimators import Pathwise
from ppl_vae.objectives.aggregate import averaged, code_site, plus
from ppl_vae.objectives.base import Bound, Objective, describe, positive, require
from ppl_vae.objectives.elbo import ELBO
from ppl_vae.schedules import Schedule, as_schedule

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

Sampling = Literal["stratified", "weighted"]


@final
class BetaTCVAE(Objective):
    r"""The ELBO with its KL decomposed, and the total correlation of codes weighted by β.

    $$\mathcal{L} = \mathbb{E}[\log p(x \mid z)] - \alpha\, \mathrm{I}_q(x; z)
    - \beta\, \mathrm{KL}\Big(q(z) \,\Big\|\, \prod_j q(z_j)\Big) - \gamma \sum_j \mathrm{KL}(q(z_j) \,\|\, p(z_j))$$

    with q(z) = (1/N) Σᵢ q(z | xᵢ), the aggregated posterior. The three are the information that a code has of its
    datum, the dependence between its dimensions, and how far each dimension is from its prior; draw by draw they add up
    to log q(z | x) − log p(z), so that with α = β = γ = 1 this is the ELBO. (Where the prior does not factorize, the
    last is E[Σⱼ log q(zⱼ) − log p(z)].)

    q(z) is estimated from the B data of a batch in one of two ways (`log_shares`): `"stratified"` has no bias but for
    the logarithm's, and is exact on the full data; `"weighted"` gives a lower bound of E log q(z).

    Args:
        beta: The weight of the total correlation: a number or a schedule.
        alpha: The weight of the mutual information of datum and code.
        gamma: The weight of the dimension-wise KL.
        sampling: How q(z) is estimated from a batch: `"stratified"` or `"weighted"`.
        site: The latent site; by default the only local one. Others are charged their KL as in the ELBO.
        num_particles: Draws per datum.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum; the metrics `mutual_information`,
        `total_correlation` and `dimension_wise_kl` are the three parts.

    Raises:
        CheckError: The site's distribution does not factorize over dimensions; a site is not pathwise.

    References:
        Chen, Li, Grosse and Duvenaud (2018), Isolating Sources of Disentanglement in Variational Autoencoders,
            https://arxiv.org/abs/1802.04942
    """

    legal = (Pathwise,)

    def __init__(
        self,
        beta: float | Schedule = 6.0,
        alpha: float = 1.0,
        gamma: float = 1.0,
        sampling: Sampling = "stratified",
        site: str | None = None,
        num_particles: int = 1,
    ) -> None:
        super().__init__()
        one_of("sampling", sampling, ("stratified", "weighted"))
        self.num_particles = positive("num_particles", num_particles)
        self.beta = as_schedule(beta, "beta")
        self.alpha, self.gamma, self.sampling, self.site = alpha, gamma, sampling, site

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        return averaged(self.of, vae, batch, self.num_particles, total, "The total correlation of codes")

    def of(self, t: Terms) -> Bound:
        """The bound from the terms of one particle."""
        require(t, self.legal, "BetaTCVAE", "the total correlation needs a gradient through the codes")
        information, correlation, marginal = decompose(t, code_site(t, self.site), self.sampling)
        beta = self.beta.like(correlation)
        surplus = (1 - self.alpha) * information + (1 - beta) * correlation + (1 - self.gamma) * marginal
        return plus(
            ELBO().of(t),
            surplus,
            mutual_information=information,
            total_correlation=correlation,
            dimension_wise_kl=marginal,
        )

    def extra_repr(self) -> str:  # noqa: D102
        return describe(alpha=self.alpha, gamma=self.gamma, sampling=self.sampling, num_particles=self.num_particles)


def decompose(t: Terms, site: Site, sampling: Sampling = "stratified") -> tuple[Tensor, Tensor, Tensor]:
    """Mutual information, total correlation and dimension-wise KL of a site's codes, 0-d, in nats, for one particle."""
    pairs = pairwise_log_q(site)  # (i, j, dimension): the code of datum i under q(z | xⱼ)
    shares = log_shares(t.batch_size, max(float(t.total), t.batch_size), sampling).to(pairs)
    log_q_given_x = pairs.diagonal().sum(0)
    log_q = torch.logsumexp(shares + pairs.sum(-1), 1)
    log_q_by_dimension = torch.logsumexp(shares[..., None] + pairs, 1).sum(-1)
    log_p = t.prior(site.name).log_prob[0]
    parts = (log_q_given_x - log_q, log_q - log_q_by_dimension, log_q_by_dimension - log_p)
    information, correlation, marginal = (part.mean() for part in parts)
    return information, correlation, marginal


def pairwise_log_q(site: Site) -> Tensor:
    """Log-densities of every code under every datum's posterior, per dimension: `(code, data, dimension)`.

    Raises:
        CheckError: The posterior does not factorize over dimensions.
    """
    base = factors(site.fn)
    if base.event_dim or site.mask is not None:
        raise CheckError(
            f"Total correlation needs the density of each dimension of a code, but site {site.name!r} is drawn from "
            f"{family(site.fn)}{', with a mask' if site.mask is not None else ''}. Use a distribution that "
            "factorizes, such as Normal(…).to_event(1), or FactorVAE, which needs draws alone."
        )
    assert site.data_dim is not None
    axis = site.data_dim - site.fn.event_dim
    each = site.raw.movedim(axis, 0).unsqueeze(axis)  # (code, …, 1, …): against all data
    pairs = widened(base.log_prob(each)).movedim(axis, 1)
    return pairs.reshape(*pairs.shape[:2], -1)


def log_shares(batch: int, total: float, sampling: Sampling = "stratified") -> Tensor:
    """Logarithms of the weights by which densities given the data of a batch add up to q(z), `(code, data)`.

    `"stratified"`: 1/N for the datum that the code was drawn from, and the rest, (N − 1)/N, shared by the B − 1 others
    (Chen et al. give one of these another weight than the rest; this is the mean over which one). Weights sum to 1.
    `"weighted"`: 1/(N B) for each.

    Example:
        >>> log_shares(3, 3).exp()[0], log_shares(2, 4).exp()[0]
        (tensor([0.3333, 0.3333, 0.3333]), tensor([0.2500, 0.7500]))
    """
    if sampling == "weighted":
        return torch.full((batch, batch), -math.log(total * batch))
    if batch == 1:
        return torch.zeros(1, 1)  # nothing is known of the others
    others = math.log((total - 1) / (total * (batch - 1)))
    return torch.full((batch, batch), others).fill_diagonal_(-math.log(total))
