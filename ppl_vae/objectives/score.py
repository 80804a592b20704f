"""The surrogate of an expectation whose draws may carry no gradient."""

from torch import Tensor

from ppl_vae.enumeration import expect_local
from ppl_vae.terms import Terms


def with_score(t: Terms, local: Tensor, joint: Tensor) -> Tensor:
    r"""A surrogate whose gradient estimates that of E[g + (N/B) Σᵢ fᵢ] / N.

    Pathwise draws carry their gradient inside f and g. A score-function site adds (log q − stop(log q))·stop(cost − b),
    whose value is 0 and whose gradient is the score times the cost. The cost of a local site is its own datum's f: the
    other data's terms have expectation 0 against its score; that of a global site is g + (N/B) Σᵢ fᵢ.

    Args:
        t: The terms.
        local: f, `(particles, data)`.
        joint: g, `(particles,)`.
    """
    total = (joint + t.data_scale * expect_local(local, t).sum(-1)).detach()
    for name, estimator in t.layout.estimators.items():
        if not estimator.score:
            continue
        site = t.guide[name]
        score = site.log_prob - site.log_prob.detach()
        advantage, loss = estimator.advantage(
            (local if site.is_local else total).detach(), t, -2 if site.is_local else -1
        )
        if site.is_local:
            local = local + score * advantage
        else:
            joint = joint + score * advantage
        if loss is not None:
            joint = joint - loss
    return t.expect(local, joint).mean() / t.total
