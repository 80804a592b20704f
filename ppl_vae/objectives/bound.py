"""What an objective returns: a value to report and a surrogate to differentiate."""

from dataclasses import dataclass, field

from torch import Tensor


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
