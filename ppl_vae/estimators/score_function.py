"""Score function: the gradient for draws that no gradient can flow through."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn

from ppl_vae.errors import one_of
from ppl_vae.estimators.base import Baseline, Estimator, require_kind
from ppl_vae.estimators.baselines import LeaveOneOut, OtherDraws

if TYPE_CHECKING:
    from ppl_vae.core.axes import Axes
    from ppl_vae.core.terms import Terms

Advantage = tuple[Tensor, Tensor | None]


@final
class ScoreFunction(Estimator, nn.Module):
    r"""Draw without a gradient, and weight the score of q by the cost.

    $$\nabla_\phi \mathbb{E}_{q_\phi}[f(z)] = \mathbb{E}_{q_\phi}\big[(f(z) - b)\, \nabla_\phi \log q_\phi(z)
    + \nabla_\phi f(z)\big]$$

    It holds for any distribution, and has by far the largest variance; a baseline b, independent of the draw, lowers
    it.

    Args:
        baseline: what predicts the cost without the draw: `"others"` is `OtherDraws`, the mean over other particles or
            other data; or `DecayingAverage`, `Neural`, `LeaveOneOut` (with several particles). Of several particles
            under an importance-weighted bound, the first and the last are VIMCO. None subtracts nothing.

    References:
        Williams (1992), Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning,
            https://doi.org/10.1007/BF00992696
        Mnih and Gregor (2014), Neural Variational Inference and Learning in Belief Networks,
            https://arxiv.org/abs/1402.0030
    """

    score: ClassVar[bool] = True

    def __init__(self, baseline: Baseline | Literal["others"] | None = "others") -> None:
        super().__init__()
        if isinstance(baseline, str):
            one_of("baseline", baseline, ("others",))
            baseline = OtherDraws()
        if baseline is not None:
            require_kind(baseline, Baseline, "baseline", "DecayingAverage() or LeaveOneOut()")
        self.baseline = baseline

    def draw(self, q: Any, axes: "Axes | None" = None) -> Tensor:
        """A draw that carries no gradient."""
        with torch.no_grad():
            return q()

    def advantage(self, cost: Tensor, t: "Terms", axis: int = -2) -> Advantage:
        """The cost minus the baseline, and the baseline's own loss, if it learns.

        Args:
            cost: `(enumerated…, particles, data)` for a local site, `(enumerated…, particles)` for a global one;
                constant for autograd.
            t: The terms.
            axis: The axis of particles: −2 for a local site, −1 for a global one.

        Enumerated sites below this one are summed out of the cost, so that what a baseline predicts from other
        particles does not depend on this one's draw.
        """
        if self.baseline is None:
            return cost, None
        b, loss = self.baseline(cost, t, axis)
        return cost - b, loss

    def multisample_advantage(
        self, cost: Tensor, log_weights: Tensor, bound: Callable[[Tensor], Tensor], t: "Terms"
    ) -> Advantage:
        """The same under a bound L of several particles, where `cost` is L for each of them.

        The baseline of the other particles is L with lₖ replaced by their mean, for particle k (VIMCO, Mnih and
        Rezende, 2016).
        """
        particles = log_weights.shape[0]
        if isinstance(self.baseline, LeaveOneOut):
            self.baseline.check(particles)
        elif particles == 1 or not isinstance(self.baseline, OtherDraws):
            return self.advantage(cost, t)
        others = (log_weights.sum(0) - log_weights) / (particles - 1)
        rows = torch.eye(particles, dtype=torch.bool, device=log_weights.device)[:, :, None]
        replaced = torch.where(rows, others[:, None], log_weights[None])  # (left out, particles, data)
        without = torch.stack([bound(replaced[k]) for k in range(particles)])
        return cost - without, None

    def extra_repr(self) -> str:  # noqa: D102
        return "" if self.baseline is not None else "baseline=None"
