"""Enumerate: the exact expectation over a discrete site."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from torch import Tensor

from ppl_vae.estimators.base import Estimator

if TYPE_CHECKING:
    from ppl_vae.core.axes import Axes


@final
@dataclass(frozen=True)
class Enumerate(Estimator):
    r"""Take every value of a finite site in parallel, each weighted by its probability.

    $$\nabla_\phi \mathbb{E}_{q_\phi}[f(z)] = \nabla_\phi \sum_c q_\phi(c)\, f(c)$$

    No draw, hence no variance from this site; cost and memory grow by the size of its support. Under
    importance-weighted bounds the site is summed out of the weights. A site that only the model has may take it,
    too: it is then summed out of the model, as Pyro's `TraceEnum_ELBO` does.

    References:
        Obermeyer et al. (2019), Tensor Variable Elimination for Plated Factor Graphs, https://arxiv.org/abs/1902.03210
    """

    enumerates: ClassVar[bool] = True

    def draw(self, q: Any, axes: "Axes | None" = None) -> Tensor:
        """A draw, for uses that want one (a posterior sample, say)."""
        return q.sample()
