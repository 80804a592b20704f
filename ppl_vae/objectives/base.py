"""What objectives share: their result, schedules that advance, metrics, the surrogate of score functions, legality."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ppl_vae.core.enumeration import expect_local
from ppl_vae.core.kl import same
from ppl_vae.core.terms import Terms
from ppl_vae.errors import CheckError
from ppl_vae.schedules import Schedule

if TYPE_CHECKING:
    from torch import nn

    from ppl_vae.core.terms import Terms


def advance(objective: "nn.Module", step: int, epoch: float) -> None:
    """Set every schedule inside an objective (or a pair) for a step and an epoch."""
    for module in objective.modules():
        if isinstance(module, Schedule):
            module.advance(step, epoch)


def metrics(t: "Terms") -> dict[str, Tensor]:
    """The unweighted ELBO, log p(x | z) and KL per site, nats per datum, detached."""
    scale = t.data_scale / t.total
    result = {"elbo": t.elbo.detach()}
    result["log_likelihood"] = t.log_likelihood.detach().sum(-1).mean() * scale
    result |= {f"kl/{name}": kl.detach() for name, kl in mean_kl(t).items()}
    return result


def mean_kl(t: "Terms", weighted: bool = False) -> dict[str, Tensor]:
    """KL per latent site, analytic where that is known and legal, 0-d, nats per datum.

    Args:
        t: The terms.
        weighted: Whether to apply the user's `poutine.scale`.
    """
    result = {}
    for name, kl in t.kl().items():
        if weighted and name in t.guide:
            q = t.guide[name]
            kl = kl * q.weight if alike(t, name) else q.term(True) - t.model[name].term(True)
        result[name] = (kl.sum(-1) * t.data_scale if kl.dim() > 1 else kl).mean() / t.total
    return result


def alike(t: "Terms", name: str) -> bool:
    """Whether both programs give a site the same `poutine.scale` and mask: else its log p − log q is no weighted KL."""
    q, p = t.guide[name], t.model.get(name)
    return p is None or (same(q.weight, p.weight) and same(q.mask, p.mask))


def require(t: "Terms", legal: Sequence[type], objective: str, why: str) -> None:
    """Refuse estimators that are biased or undefined under an objective, naming the legal ones."""
    for name, estimator in t.layout.estimators.items():
        if type(estimator) not in legal:
            raise CheckError(
                f"{type(estimator).__name__} at site {name!r} cannot be used with {objective}: {why}. "
                f"Legal here: {', '.join(e.__name__ for e in legal)}."
            )


def local_only(t: "Terms", objective: str, what: str) -> None:
    """Refuse global latents where an objective is defined per datum."""
    shared = [name for name, site in t.latents.items() if not site.is_local]
    if shared:
        raise CheckError(
            f"{objective} {what}, and is not defined for global latents, here {shared}. "
            "Legal with global latents: ELBO, IWAE, MIWAE, PIWAE, CIWAE, Renyi."
        )


def positive(name: str, number: int) -> int:
    """A number of at least 1."""
    if number < 1:
        raise ValueError(f"Expected {name} ≥ 1, got {number}.")
    return number


def describe(**settings: Any) -> str:
    """Settings as they are written in a call."""
    return ", ".join(f"{k}={v!r}" for k, v in settings.items())


@dataclass(frozen=True)
class Bound:
    """A bound on one batch, in nats per datum.

    Attributes:
        value: The bound, with the objective's own weights (β, user scale); no gradient.
        surrogate: Its gradient is an estimate of the bound's; its value may be anything. To be maximized.
        metrics: Detached 0-d tensors by name: `elbo` (unweighted), `log_likelihood`, `kl/SITE`.
    """

    value: Tensor
    surrogate: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


def score_function_surrogate(t: Terms, local: Tensor, joint: Tensor) -> Tensor:
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
