"""The types of estimators and of baselines."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from ppl_vae.errors import ArgumentError

if TYPE_CHECKING:
    from ppl_vae.core.axes import Axes
    from ppl_vae.core.terms import Terms


class Estimator(ABC):
    """The way a latent site of a guide is drawn for training, and the gradient that its draws carry.

    An objective builds its surrogate from these facts; an estimator never renames or replaces a site.

    Attributes:
        score: Its draws carry no gradient, and the score of q is weighted by the cost.
        enumerates: Its values are summed over, and none is drawn.
        relaxes: Its values are continuous in the place of discrete ones.
    """

    score: ClassVar[bool] = False
    enumerates: ClassVar[bool] = False
    relaxes: ClassVar[bool] = False

    @abstractmethod
    def draw(self, q: Any, axes: "Axes | None" = None) -> Tensor:
        """A draw of q.

        Args:
            q: The site's distribution.
            axes: Where particles and data lie in the draw.
        """


Prediction = tuple[Tensor | float, Tensor | None]
"""A predicted cost, constant for autograd, and the loss by which the prediction learns, if it does."""


class Baseline(ABC, nn.Module):
    """An expectation of a cost before the draw is known; subtracted from it, it lowers the score's variance."""

    @abstractmethod
    def forward(self, cost: Tensor, t: "Terms", axis: int = -2) -> Prediction:
        """The prediction for a cost.

        Args:
            cost: `(enumerated…, particles, data)` for a local site, `(enumerated…, particles)` for a global one.
            t: The terms.
            axis: The axis of particles: −2 for a local site, −1 for a global one.
        """


def require_kind(value: Any, kind: type, what: str, example: str) -> None:
    """Refuse what is not an object of a kind: its class, its name, something else.

    Raises:
        ArgumentError: with the value, what was expected, and an example.
    """
    if isinstance(value, kind):
        return
    if isinstance(value, type) and issubclass(value, kind):
        hint = f"Make one of the class: {value.__name__}()."
    else:
        hint = f"Give an object, such as {example}."
    got = value.__name__ if isinstance(value, type) else f"{value!r:.60}"
    raise ArgumentError(f"Got {got} as {what}, expected an object of ppl_vae's {kind.__name__} type. {hint}")
