"""Draws the latent sites of a guide as their estimators want them, and leaves names and distributions alone."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

if TYPE_CHECKING:
    from ppl_vae.core.axes import Axes


class Draw(Messenger):
    """Sets the value of each latent site that is not enumerated to its estimator's draw.

    Args:
        estimator: From a site's message to its estimator; None for a plain draw from its distribution.
        axes: From a site's message to where particles and data lie in its draw.
        shared: Tells the sites of which all particles share one draw (global ones, in nested bounds).
        values: Values to use in place of draws.
        redraw: Draw where a value is given, too, so that the generator goes on as if it were not.
    """

    def __init__(
        self,
        estimator: Callable[[Any], Any],
        axes: "Callable[[Any], Axes]",
        shared: Callable[[Any], bool] = lambda msg: False,
        values: Mapping[str, Tensor] | None = None,
        redraw: bool = False,
    ) -> None:
        super().__init__()
        self.estimator = estimator
        self.axes = axes
        self.shared = shared
        self.values = values or {}
        self.redraw = redraw

    def _pyro_sample(self, msg: Any) -> None:
        if msg["done"] or msg["is_observed"] or msg["value"] is not None or site_is_subsample(msg):
            return
        estimator: Any = self.estimator(msg)
        given = self.values.get(msg["name"])
        if given is None or self.redraw:
            if estimator is not None and not estimator.enumerates:
                value = estimator.draw(msg["fn"], self.axes(msg))
            else:
                value = msg["fn"](*msg["args"], **msg["kwargs"])
            if self.shared(msg):
                value = self.axes(msg).share_particles(value, msg["fn"].event_dim)
        msg["value"] = value if given is None else given
        msg["done"] = True
