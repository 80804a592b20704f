"""Bounds with several particles per datum, each a function L of its log-weights.

With lₖᵢ = Σ over local sites of log p − log q, such a bound is E[g + (N/B) Σᵢ L(l₁ᵢ … l_Kᵢ)]: one draw of the global
latents, with g their log p − log q, and K draws of the local ones. N/B stays outside of L. The joint bound has one
weight g + Σᵢ lᵢ for all data together; on a minibatch, scaled by N/B, it is no bound.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ppl_vae.core.batch import batch_length
from ppl_vae.core.prepared import Mode
from ppl_vae.core.run import terms
from ppl_vae.core.terms import Terms
from ppl_vae.errors import CheckError
from ppl_vae.estimators import Enumerate, LeaveOneOut, Neural, Pathwise, ScoreFunction
from ppl_vae.objectives.base import Bound, Objective, metrics, positive, require

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

MultisampleBound = Callable[[Tensor], Tensor]
"""L: from log-weights `(particles, data)` to a bound per datum, `(data,)`."""


class Multisample(Objective):
    r"""$\mathcal{L} = \mathbb{E}[g + (N/B) \sum_i L(l_{1i}, \dots, l_{Ki})]$, with log-weights l and global terms g.

    What is below gives L, and is final.

    Args:
        num_particles: K, draws per datum.
        joint: Take the batch, which must be all data, as one observation.
    """

    legal: ClassVar[Sequence[type]] = (Pathwise, ScoreFunction, Enumerate)

    def __init__(self, num_particles: int, joint: bool = False) -> None:
        super().__init__()
        self.num_particles, self.joint = positive("num_particles", num_particles), joint
        self.mean_over_data = not joint

    @abstractmethod
    def bound(self, log_w: Tensor) -> Tensor:
        """L: log-weights `(particles, data)` to `(data,)`."""

    def forward(self, vae: "VAE", batch: Any, total: float | None = None) -> Bound:
        """The bound on one batch of a data set of `total` data."""
        if self.joint:
            return joint_bound(joint_terms(vae, batch, self.num_particles, total), self.bound)
        t = nested_terms(vae, batch, self.num_particles, total)
        require(t, self.legal, type(self).__name__, "its gradient would be biased")
        return multisample(t, self.bound)

    def extra_repr(self) -> str:  # noqa: D102
        return f"num_particles={self.num_particles}" + (", joint=True" if self.joint else "")


def nested_terms(
    vae: "VAE", batch: Any, particles: int, total: float | None, *, cut: bool = False, mode: Mode = "estimate"
) -> Terms:
    """Terms with one draw of the global latents, and K of the local ones."""
    t = terms(vae, batch, particles, total=total, shared_global=True, cut=cut, mode=mode)
    t.require_weights()
    return t


def multisample(t: Terms, bound: MultisampleBound) -> Bound:
    """A bound with pathwise and score-function sites.

    The cost of a local score-function site is L itself, minus a baseline; VIMCO's is L without that particle.
    """
    local, joint = t.weights(weighted=True), t.ratio(False, weighted=True)[0]
    total = joint + t.data_scale * bound(local).sum()
    surrogate = total + scores(t, bound, local, total)
    return Bound((total / t.total).detach(), surrogate / t.total, metrics(t))


def scores(t: Terms, bound: MultisampleBound, local: Tensor, total: Tensor) -> Tensor | float:
    """The part of a surrogate by which score-function sites learn, of value 0 (but for losses of baselines).

    Args:
        t: The terms.
        bound: L.
        local: The weighted l, `(particles, data)`.
        total: g + (N/B) Σᵢ Lᵢ, 0-d.

    Raises:
        CheckError: a leave-one-out baseline at a global site, which has one draw.
    """
    surrogate: Tensor | float = 0.0
    for name, estimator in t.estimators.items():
        if not estimator.score:
            continue
        site = t.guide[name]
        assert site.log_mass is not None
        score = site.log_mass - site.log_mass.detach()
        score = score.flatten(0, -3).sum(0) if score.dim() > 2 else score  # one draw per enumerated value
        if site.is_local:
            cost = bound(local.detach()).expand_as(local)
            advantage, loss = estimator.multisample_advantage(cost, local.detach(), bound, t)
            surrogate = surrogate + t.data_scale * (score * advantage).sum()
        else:
            if isinstance(estimator.baseline, LeaveOneOut):
                raise CheckError(
                    f"LeaveOneOut at site {name!r} averages over other draws of the site, and a bound with several "
                    "particles per datum draws global latents once. Use DecayingAverage() there, or the ELBO."
                )
            advantage, loss = estimator.advantage(total.detach()[None], t, -1)  # one draw, written K times in score
            surrogate = surrogate + (score * advantage).mean()
        if loss is not None:
            surrogate = surrogate - loss
    return surrogate


def joint_terms(vae: "VAE", batch: Any, particles: int, total: float | None) -> Terms:
    """Terms of particles that are draws of all latents, on the full data.

    Raises:
        CheckError: The batch is a part of the data set.
    """
    t = terms(vae, batch, particles, total=total)
    size = t.batch_size if t.prepared.plates.data_plates else batch_length(t.batch) or t.total
    if float(t.total) != float(size):
        raise CheckError(
            f"A joint bound needs all data at once: got a batch of {size} out of {float(t.total):g}. "
            f"Use a batch size of {float(t.total):g}, or joint=False with a plate over the data, or the ELBO."
        )
    t.require_whole()
    return t


def joint_bound(t: Terms, bound: MultisampleBound) -> Bound:
    """A bound of log-weights `(particles, 1)`; the cost of every score-function site is the bound itself."""
    require(t, (Pathwise, ScoreFunction), "a joint bound", "it has one weight for all data")
    log_p, log_q = ((t.sum(p, True, weighted=True).sum(-1), t.sum(p, False, weighted=True)) for p in (t.model, t.guide))
    log_w = (log_p[0] + log_p[1] - log_q[0] - log_q[1])[:, None]
    value = surrogate = bound(log_w).sum()
    for name, estimator in t.estimators.items():
        if not estimator.score:
            continue
        if isinstance(estimator.baseline, Neural):
            raise CheckError(
                f"The neural baseline at site {name!r} predicts a cost per datum, and a joint bound has one for all. "
                "Use DecayingAverage or LeaveOneOut."
            )
        mass = t.guide[name].log_mass
        assert mass is not None
        score = (mass.sum(-1) if t.guide[name].is_local else mass)[:, None]
        cost = value.detach().expand_as(log_w)
        advantage, _ = estimator.multisample_advantage(cost, log_w.detach(), bound, t)
        surrogate = surrogate + ((score - score.detach()) * advantage).sum()
    return Bound((value / t.total).detach(), surrogate / t.total, metrics(t))


def log_mean_exp(l: Tensor) -> Tensor:  # noqa: E741
    """Log (1/K) Σₖ exp lₖ over the particles, `(particles, data)` → `(data,)`."""
    return torch.logsumexp(l, 0) - torch.log(torch.tensor(float(l.shape[0]), dtype=l.dtype, device=l.device))


def latent_surrogate(t: Terms, weighted: Tensor) -> Tensor:
    """A surrogate whose gradient is that of `weighted` entering each latent, and going on through its draw.

    Args:
        t: Terms that were cut at the latents.
        weighted: A 0-d function of the leaves; its own parameters get no gradient from this.
    """
    leaves = {name: leaf for name, leaf in t.leaves.items() if leaf.requires_grad}
    if not leaves or not torch.is_grad_enabled():
        return weighted.detach() * 0
    gradients = torch.autograd.grad(weighted, list(leaves.values()), retain_graph=True, allow_unused=True)
    surrogate = weighted.detach() * 0
    for name, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            # A constant in eager mode already; a captured graph must be told.
            surrogate = surrogate + (gradient.detach() * t.guide[name].raw).sum()
    return surrogate
