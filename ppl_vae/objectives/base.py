"""What the objectives share: schedules that advance, metrics, and the check that an estimator is legal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ppl_vae.errors import CheckError
from ppl_vae.schedules import Schedule

if TYPE_CHECKING:
    from torch import nn

    from ppl_vae.terms import Terms


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
    for name, kl in t.kl().items():
        kl = kl.detach()
        result[f"kl/{name}"] = (kl.sum(-1) * scale if kl.dim() > 1 else kl / t.total).mean()
    return result


def require(t: "Terms", legal: Sequence[type], objective: str, why: str) -> None:
    """Refuse estimators that are biased or undefined under an objective, naming the legal ones."""
    for name, estimator in t.layout.estimators.items():
        if type(estimator) not in legal:
            raise CheckError(
                f"{type(estimator).__name__} at site {name!r} cannot be used with {objective}: {why}. "
                f"Legal here: {', '.join(e.__name__ for e in legal)}."
            )


def describe(**settings: Any) -> str:
    """Settings as they are written in a call."""
    return ", ".join(f"{k}={v!r}" for k, v in settings.items())
