"""What bounds with several particles per datum share.

With lₖᵢ = Σ over local sites of log p − log q, such a bound is E[g + (N/B) Σᵢ L(l₁ᵢ … l_Kᵢ)]: one draw of the global
latents, with g their log p − log q, and K draws of the local ones. N/B stays outside of L. (The joint bound, with the
data inside the logarithm, is none on a minibatch.)
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.core.enumeration import marginalize_local
from ppl_vae.core.terms import Terms, terms
from ppl_vae.errors import CheckError
from ppl_vae.objectives.base import Bound, metrics

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE

MultisampleBound = Callable[[Tensor], Tensor]
"""From log-weights `(particles, data)` to a bound per datum, `(data,)`."""


def nested_terms(vae: "VAE", batch: Any, particles: int, total: float | None, *, cut: bool = False) -> Terms:
    """Terms with one draw of the global latents, and K of the local ones."""
    t = terms(vae, batch, particles, total=total, shared_global=True, cut=cut)
    t.require_data_plate("A bound with several particles per datum")
    return t


def log_weights(t: Terms) -> tuple[Tensor, Tensor]:
    """The weighted l, `(particles, data)`, and g, 0-d, of a training bound."""
    enumerated = [n for n, s in t.guide.items() if s.enum_dim is not None and not s.is_local]
    if enumerated:
        raise CheckError(
            f"Enumerate at the global site {enumerated[0]!r} has no bound with several particles per datum. "
            "Use ELBO, or ScoreFunction at this site."
        )
    drawn = t.sum(t.guide, True, where=lambda site: site.enum_dim is None, weighted=True)
    local = marginalize_local(t.sum(t.model, True, weighted=True) - drawn, t)
    joint = t.sum(t.model, False, weighted=True) - t.sum(t.guide, False, weighted=True)
    return local, joint[0]


def multisample(t: Terms, bound: MultisampleBound) -> Bound:
    """A bound with pathwise and score-function sites.

    The cost of a local score-function site is L itself, minus a baseline; VIMCO's is L without that particle.
    """
    local, joint = log_weights(t)
    per_datum = bound(local)
    total = joint + t.data_scale * per_datum.sum()
    surrogate = total + scores(t, bound, local, total)
    return Bound((total / t.total).detach(), surrogate / t.total, metrics(t))


def scores(t: Terms, bound: MultisampleBound, local: Tensor, total: Tensor) -> Tensor | float:
    """The part of a surrogate by which score-function sites learn, of value 0 (but for losses of baselines).

    Args:
        t: The terms.
        bound: L.
        local: The weighted l, `(particles, data)`.
        total: g + (N/B) Σᵢ Lᵢ, 0-d.
    """
    surrogate: Tensor | float = 0.0
    for name, estimator in t.layout.estimators.items():
        if not estimator.score:
            continue
        site = t.guide[name]
        score = site.log_prob - site.log_prob.detach()
        score = score.flatten(0, -3).sum(0) if score.dim() > 2 else score  # one draw per enumerated value
        if site.is_local:
            cost = bound(local.detach()).expand_as(local)
            advantage, loss = estimator.multisample_advantage(cost, local.detach(), bound, t)
            surrogate = surrogate + t.data_scale * (score * advantage).sum()
        else:
            cost = total.detach().expand(t.num_particles)
            advantage, loss = estimator.advantage(cost, t, -1)
            surrogate = surrogate + (score * advantage).mean()  # one draw, written K times
        if loss is not None:
            surrogate = surrogate - loss
    return surrogate


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
    if not torch.is_grad_enabled():
        return weighted.detach() * 0
    gradients = torch.autograd.grad(weighted, list(leaves.values()), retain_graph=True, allow_unused=True)
    surrogate = weighted.detach() * 0
    for name, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            # A constant in eager mode already; a captured graph must be told.
            surrogate = surrogate + (gradient.detach() * t.guide[name].raw).sum()
    return surrogate
