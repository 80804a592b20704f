"""One bound for the model, a looser one for the guide."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ppl_vae.estimators import Pathwise, ScoreFunction
from ppl_vae.objectives.base import describe, metrics, require
from ppl_vae.objectives.bound import Bound
from ppl_vae.objectives.miwae import grouped, grouping
from ppl_vae.objectives.multisample import into_latents, log_mean_exp, nested_terms, scores
from ppl_vae.terms import Terms

if TYPE_CHECKING:
    from ppl_vae.vae import VAE


class PIWAE(nn.Module):
    r"""The importance-weighted bound for the model, the mean of M smaller ones for the guide, from the same K draws.

    $$\Delta_\theta = \nabla_\theta \mathcal{L}_K, \qquad \Delta_\phi = \nabla_\phi \mathcal{L}_{M, K/M}$$

    The model gets the gradient of the tight bound ([`IWAE`][ppl_vae.objectives.IWAE]), the guide that of the one with
    more signal ([`MIWAE`][ppl_vae.objectives.MIWAE]). What is the model's and what the guide's is told apart at the
    latents, so the programs may share parameters: these get the sum of both parts.

    Args:
        num_particles: K, all draws per datum.
        num_groups: M, a divisor of K.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum; the value is the tight bound's.

    Raises:
        CheckError: The pair has no data plate; an estimator is not legal here.

    References:
        Tighter Variational Bounds Are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537
    """

    legal = (Pathwise, ScoreFunction)

    def __init__(self, num_particles: int = 16, num_groups: int = 4) -> None:
        super().__init__()
        self.num_particles, self.num_groups = grouping(num_particles, num_groups)

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
    guide = into_latents(t, joint_p + t.data_scale * (v * log_p).sum())
    guide = guide - joint_q - t.data_scale * (v * log_q).sum()
    guide = guide + scores(t, lambda log_w: grouped(log_w, groups), local, loose)
    return Bound(value / t.total, (model + guide) / t.total, metrics(t))


def group_weights(log_w: Tensor, groups: int) -> Tensor:
    """The derivative of `grouped`: weights `(particles, data)`, normalized in each group, that sum to 1 over all."""
    return torch.softmax(log_w.unflatten(0, (groups, -1)), 1).flatten(0, 1) / groups
