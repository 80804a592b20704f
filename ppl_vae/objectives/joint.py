"""Bounds with one weight for all data together.

Where the batch is one joint observation, or is to be taken as one, a particle draws all latents, global and local, and
has the one log-weight g + Σᵢ lᵢ. That is a bound on the full data only: scaled by N/B, what a minibatch gives is none.
"""

from typing import TYPE_CHECKING, Any

from ppl_vae.core.batch import batch_length
from ppl_vae.core.data import as_batch
from ppl_vae.core.terms import Terms, terms
from ppl_vae.errors import CheckError
from ppl_vae.estimators import Neural, Pathwise, ScoreFunction
from ppl_vae.objectives.base import Bound, metrics, require
from ppl_vae.objectives.multisample import MultisampleBound

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


def joint_terms(vae: "VAE", batch: Any, particles: int, total: float | None) -> Terms:
    """Terms of particles that are draws of all latents, on the full data.

    Raises:
        CheckError: The batch is a part of the data set.
    """
    t = terms(vae, batch, particles, total=total)
    size = t.batch_size if t.layout.data_plates else batch_length(as_batch(batch)) or t.total
    if float(t.total) != float(size):
        raise CheckError(
            f"A joint bound needs all data at once: got a batch of {size} out of {float(t.total):g}. "
            f"Use a batch size of {float(t.total):g}, or joint=False with a plate over the data, or the ELBO."
        )
    return t


def joint_bound(t: Terms, bound: MultisampleBound) -> Bound:
    """A bound of log-weights `(particles, 1)`; the cost of every score-function site is the bound itself."""
    require(t, (Pathwise, ScoreFunction), "a joint bound", "it has one weight for all data")
    log_p, log_q = ((t.sum(p, True, weighted=True).sum(-1), t.sum(p, False, weighted=True)) for p in (t.model, t.guide))
    log_w = (log_p[0] + log_p[1] - log_q[0] - log_q[1])[:, None]
    value = surrogate = bound(log_w).sum()
    for name, estimator in t.layout.estimators.items():
        if not estimator.score:
            continue
        if isinstance(estimator.baseline, Neural):
            raise CheckError(
                f"The neural baseline at site {name!r} predicts a cost per datum, and a joint bound has one for all. "
                "Use DecayingAverage or LeaveOneOut."
            )
        log_prob = t.guide[name].log_prob
        score = (log_prob.sum(-1) if t.guide[name].is_local else log_prob)[:, None]
        cost = value.detach().expand_as(log_w)
        advantage, _ = estimator.multisample_advantage(cost, log_w.detach(), bound, t)
        surrogate = surrogate + ((score - score.detach()) * advantage).sum()
    return Bound((value / t.total).detach(), surrogate / t.total, metrics(t))
