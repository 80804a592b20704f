"""The importance-weighted bound."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ppl_vae.errors import CheckError
from ppl_vae.estimators import Concrete, DoublyReparameterized, Enumerate, Implicit, Pathwise, ScoreFunction
from ppl_vae.objectives.base import describe, metrics, require
from ppl_vae.objectives.bound import Bound
from ppl_vae.objectives.joint import joint_bound, joint_terms
from ppl_vae.objectives.multisample import into_latents, log_mean_exp, multisample, nested_terms
from ppl_vae.terms import Terms

if TYPE_CHECKING:
    from ppl_vae.vae import VAE


class IWAE(nn.Module):
    r"""The importance-weighted evidence lower bound of K particles per datum.

    $$\mathcal{L}_K = \sum_i \mathbb{E}\Big[\log \frac1K \sum_{k=1}^K \frac{p(x_i, z_{ki})}{q(z_{ki} \mid x_i)}\Big]$$

    It grows with K from the ELBO (K = 1) to log p(x). With global latents w it is the nested bound: one draw of w,
    E[log p(w) − log q(w) + (N/B) Σᵢ log mean_k exp lₖᵢ]; the scale of a minibatch is never inside the logarithm.

    Args:
        num_particles: K.
        joint: Take the batch as one joint observation, with one weight g + Σᵢ lᵢ for a draw of all latents. Legal on
            the full data only, and without a plate over data, too.

    Shapes:
        `objective(vae, batch, total=N)` gives 0-d tensors in nats per datum.

    Raises:
        CheckError: The pair has no data plate, or the batch of a joint bound is not all data; an estimator is not legal
            here, or `DoublyReparameterized` is not at every site.

    References:
        Importance Weighted Autoencoders (Burda, Grosse and Salakhutdinov, 2016), https://arxiv.org/abs/1509.00519
    """

    legal = (Pathwise, Implicit, Concrete, DoublyReparameterized, ScoreFunction, Enumerate)

    def __init__(self, num_particles: int = 5, joint: bool = False) -> None:
        super().__init__()
        if num_particles < 1:
            raise ValueError(f"Expected num_particles ≥ 1, got {num_particles}.")
        self.num_particles, self.joint = num_particles, joint

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        if self.joint:
            return joint_bound(joint_terms(vae, batch, self.num_particles, total), log_mean_exp)
        doubly = any(isinstance(e, DoublyReparameterized) for e in (*vae.estimators.values(),))
        t = nested_terms(vae, batch, self.num_particles, total, cut=doubly)
        require(t, self.legal, "IWAE", "its gradient would be biased")
        return doubly_reparameterized(t) if doubly else multisample(t, log_mean_exp)

    def extra_repr(self) -> str:  # noqa: D102
        return describe(num_particles=self.num_particles, joint=self.joint)


def doubly_reparameterized(t: Terms) -> Bound:
    """The importance-weighted bound with weight w̃ on the model's direct gradient and w̃² on that into each latent."""
    others = [n for n, e in t.layout.estimators.items() if not isinstance(e, DoublyReparameterized)]
    if others or t.has_global_latents:
        what = f"site {others[0]!r} has another estimator" if others else "the guide has global latents"
        raise CheckError(
            f"DoublyReparameterized needs every latent site to be local and to have it, but {what}. "
            "Use estimators={'*': DoublyReparameterized()}, or Pathwise."
        )
    log_p = t.sum(t.model, True, weighted=True)
    log_w = log_p - t.sum(t.leaf_guide, True, weighted=True)  # as a function of the leaves and the model's parameters
    normalized = torch.softmax(log_w, 0).detach()
    scale: float | Tensor = t.data_scale / t.total
    value = scale * log_mean_exp(log_w).sum()
    surrogate = scale * (normalized * log_p).sum() + scale * into_latents(t, (normalized**2 * log_w).sum())
    joint = (t.sum(t.model, False, weighted=True) - t.sum(t.guide, False, weighted=True)).mean() / t.total
    return Bound((value + joint).detach(), surrogate + joint, metrics(t))
