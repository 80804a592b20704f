"""The estimator of what is quantized to vectors of a codebook: straight through, and the codebook learns."""

from typing import TYPE_CHECKING, Any, ClassVar, final

from torch import Tensor

from ppl_vae.distributions.unwrap import elements
from ppl_vae.distributions.vector_quantized import StraightThrough
from ppl_vae.errors import CheckError
from ppl_vae.estimators.base import Estimator

if TYPE_CHECKING:
    from ppl_vae.core.axes import Axes
    from ppl_vae.core.terms import Terms


@final
class Quantize(Estimator):
    r"""Draws that carry the gradient of what was quantized; sites of `StraightThrough` have it by themselves.

    The objective's surrogate gets −β‖stop(e) − h‖², and in training mode the codebook moves, once for each time that
    the objective is taken. Neither is a part of the bound that is reported.

    References:
        van den Oord, Vinyals and Kavukcuoglu (2017), Neural Discrete Representation Learning,
            https://arxiv.org/abs/1711.00937
    """

    score: ClassVar[bool] = True  # q is a point: its score is zero, and the loss below is what enters

    def draw(self, q: Any, axes: "Axes | None" = None) -> Tensor:
        """E, with the gradient of h."""
        if not isinstance(elements(q), StraightThrough):
            raise CheckError(f"Got Quantize at a site of {type(q).__name__}, expected one of StraightThrough.")
        return q.rsample()

    def advantage(self, cost: Tensor, t: "Terms", axis: int = -2) -> tuple[Tensor, Tensor]:
        """No advantage, and the commitment of all data; the codebook moves."""
        q = elements(t.guide[next(name for name, e in t.estimators.items() if e is self)].fn)
        if q.codebook.training:
            q.codebook.update(q.h, q.z)
        return cost.new_zeros(()), q.commitment * q.distance.mean() * t.total
