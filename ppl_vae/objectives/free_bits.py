"""A KL below which nothing is gained, or one held at a capacity that training raises."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast, final

import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from ppl_vae.core.half import widened
from ppl_vae.core.run import terms
from ppl_vae.core.terms import Terms, analytic_kl
from ppl_vae.distributions.unwrap import factors
from ppl_vae.errors import ArgumentError, CheckError, one_of
from ppl_vae.estimators import Concrete, Enumerate, Pathwise
from ppl_vae.objectives.base import Bound, Objective, alike, charged_kl, describe, positive, require
from ppl_vae.objectives.elbo import ELBO
from ppl_vae.schedules import Schedule, as_schedule

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


@final
class FreeBits(Objective):
    r"""The ELBO where each group of latents may spend λ nats of KL for free, so that none is given up at the start.

    $$\mathcal{L} = \mathbb{E}[\log p(x \mid z)] - \sum_g \max\Big(\lambda,\ \frac1B \sum_i \mathrm{KL}_{gi}\Big)$$

    The KL of a group is its mean over the batch before it is compared with λ; analytic where that is known and legal,
    else sampled. Global sites are charged in full.

    Args:
        nats: λ, nats per datum and group: a number or a schedule.
        per: `"dimension"` makes every dimension of every latent site a group, which needs their KL in closed form;
            `"site"` every site.
        num_particles: Draws per datum.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum.

    Raises:
        CheckError: A site is not pathwise; the KL of a site has no closed form per dimension.

    References:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
            https://arxiv.org/abs/1606.04934
    """

    legal = (Pathwise,)

    def __init__(
        self, nats: float | Schedule = 0.1, per: Literal["dimension", "site"] = "dimension", num_particles: int = 1
    ) -> None:
        super().__init__()
        one_of("per", per, ("dimension", "site"))
        if isinstance(nats, (int, float)) and nats < 0:
            raise ArgumentError(f"Got {nats}, expected nats ≥ 0.")
        self.num_particles = positive("num_particles", num_particles)
        self.nats, self.per = as_schedule(nats, "nats"), per

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        t = terms(vae, batch, self.num_particles, total=total)
        require(t, self.legal, "FreeBits", "the KL is compared with λ, and needs a gradient of its own")
        charged = torch.zeros((), dtype=t.log_likelihood.dtype, device=t.log_likelihood.device)
        for name, kl in charged_kl(t).items():
            if name not in t.guide or t.guide[name].is_local:
                groups = kl_by_dimension(t, name) if self.per == "dimension" else kl
                kl = torch.maximum(groups, self.nats.like(kl)).sum()
            charged = charged + kl
        bound = ELBO().of(t, beta=0.0)
        return Bound(bound.value - charged.detach(), bound.surrogate - charged, bound.metrics)

    def extra_repr(self) -> str:  # noqa: D102
        return describe(per=self.per, num_particles=self.num_particles)


def kl_by_dimension(t: Terms, name: str) -> Tensor:
    """The closed-form KL of each dimension of a local site, its mean over particles and data, `(dimensions,)`."""
    if name in t.guide and analytic_kl(t, name) is not None:
        site, p = t.guide[name], t.prior(name).fn
        q, p = factors(site.fn), factors(p)
        if q.event_dim == p.event_dim == 0 and site.mask is None and _plain_weight(t, name):
            assert site.data_dim is not None
            kl = widened(kl_divergence(q, p)) * site.weight
            kl = kl.movedim(site.data_dim - site.fn.event_dim, 0).mean(0)
            while kl.dim() > t.prepared.plates.depth - 1 + site.fn.event_dim:
                kl = kl.mean(0)  # particles
            return kl.flatten()
    raise CheckError(
        f"The KL of site {name!r} is not known per dimension. Use distributions that factorize over dimensions in both "
        "programs, such as Normal(…).to_event(1), without mask and with one poutine.scale; or FreeBits(per='site')."
    )


def _plain_weight(t: Terms, name: str) -> bool:
    return not isinstance(t.guide[name].weight, Tensor) and alike(t, name)


@final
class Capacity(Objective):
    r"""The reconstruction, with the KL drawn towards a capacity C that grows while training.

    $$\mathcal{L} = \mathbb{E}[\log p(x \mid z)] - \gamma\, \Big|\frac1B \sum_i \mathrm{KL}_i - C\Big|$$

    The KL is that of all latent sites, analytic where that is known and legal, else sampled; that of global sites
    counts by its share per datum. With a capacity for each site (JointVAE: continuous codes and discrete ones) there
    is such a term for each of them; a site that is not named keeps the KL of the ELBO.

    Args:
        capacity: C, in nats per datum: a number or a schedule; or one for each latent site, by name.
        gamma: γ: a number or a schedule.
        num_particles: Draws per datum.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum.

    Raises:
        CheckError: A site is drawn by a score function or sticks the landing; a capacity names no latent site.

    References:
        Burgess et al. (2018), Understanding disentangling in β-VAE, https://arxiv.org/abs/1804.03599
        Dupont (2018), Learning Disentangled Joint Continuous and Discrete Representations,
            https://arxiv.org/abs/1804.00104
    """

    legal = (Pathwise, Enumerate, Concrete)

    def __init__(
        self,
        capacity: float | Schedule | Mapping[str, float | Schedule] = 25.0,
        gamma: float | Schedule = 10.0,
        num_particles: int = 1,
    ) -> None:
        super().__init__()
        self.num_particles = positive("num_particles", num_particles)
        self.sites = tuple(capacity) if isinstance(capacity, Mapping) else None
        if self.sites == ():
            raise ArgumentError("Got no capacity, expected one for each of some latent sites, or one for all together.")
        self.capacity: nn.Module = (
            nn.ModuleList(as_schedule(c, "capacity") for c in capacity.values())  # in a list: names may have dots
            if isinstance(capacity, Mapping)
            else as_schedule(capacity, "capacity")
        )
        self.gamma = as_schedule(gamma, "gamma")

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        t = terms(vae, batch, self.num_particles, total=total)
        require(t, self.legal, "Capacity", "the KL is compared with a capacity, and needs a gradient of its own")
        kl = charged_kl(t)
        if self.sites is None:
            kl = {"": torch.stack(list(kl.values())).sum()}
        elif unknown := set(self.sites) - set(kl):
            raise CheckError(f"capacity names {sorted(unknown)}; the sites that have a KL are {sorted(kl)}.")
        charged = torch.stack([kl.pop(name) for name in self.sites or ("",)])
        limits = [self.capacity] if self.sites is None else list(self.capacity.children())
        aims = torch.stack([cast(Schedule, c).like(charged) for c in limits])
        excess = self.gamma.like(charged) * (charged - aims).abs().sum() + sum(kl.values())
        bound = ELBO().of(t, beta=0.0)
        return Bound(bound.value - excess.detach(), bound.surrogate - excess, bound.metrics)

    def extra_repr(self) -> str:  # noqa: D102
        return describe(num_particles=self.num_particles, **({} if self.sites is None else {"sites": self.sites}))
